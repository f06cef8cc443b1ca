"""Imports point in one direction: from the application and the tools to the stages, and from these to the core."""

import ast
import re
import subprocess
import sys

from dvc_stages import SRC, script, stages
from reach import ROOT, file_of, imported, reached

from portraitist.all_params import SECTIONS

# A package may import those on the lines above it, and itself.
LAYERS = [
    {"core"},
    {"stats", "reporting", "weights", "collect"},
    {"sources", "clean", "shipped"},
    {"crop", "split"},
    {"mask", "augment"},
    {"learning"},
    {"nets"},
    {"methods"},
    {"train", "paint"},
    {"evaluate", "compare", "export"},
    {"app"},
    {"tools"},
    {"all_params", "cli"},
    {"__main__"},
]
LEVEL = {package: level for level, packages in enumerate(LAYERS) for package in packages}
PRODUCT = ("app/avatar.py", "app/paint_files.py", "app/video.py", "app/server.py")
IMPORT_NAMES = {"python-multipart": "multipart", "opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
FILES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")


def package_of(path):
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def packages_used(path):
    files = [file_of(name) for name in imported(path)]
    return {package_of(file) for file in files if file.is_relative_to(SRC) and file != SRC / "__init__.py"}


def top_level_imports(path):
    """Return the first part of each module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


def test_every_package_has_a_layer():
    assert {package_of(path) for path in FILES} == set(LEVEL)


def test_imports_point_to_lower_layers():
    wrong = {}
    for path in FILES:
        own = package_of(path)
        upward = {other for other in packages_used(path) - {own} if LEVEL[other] >= LEVEL[own]}
        if upward:
            wrong[path.relative_to(SRC).as_posix()] = upward
    assert wrong == {}


def test_package_imports_neither_pipeline_nor_dvc():
    assert [path for path in FILES if top_level_imports(path) & {"pipeline", "dvc"}] == []


def test_networks_and_losses_are_independent():
    nets = [path for path in FILES if package_of(path) == "nets"]
    assert nets
    losses = SRC / "learning" / "losses.py"
    assert [path for path in nets if losses in {file_of(name) for name in imported(path)}] == []
    assert "nets" not in packages_used(losses)


def test_metrics_import_neither_methods_nor_training_loop():
    forbidden = {SRC / "train" / "loop.py", SRC / "app" / "avatar.py"}
    for path in (SRC / "evaluate").glob("*.py"):
        assert "methods" not in packages_used(path), path
        assert not reached(path) & forbidden, path


def test_product_imports_no_training_code():
    for name in PRODUCT:
        packages = {package_of(path) for path in reached(SRC / name) if path != SRC / "__init__.py"}
        assert "crop" in packages, name
        assert not packages & {"train", "augment", "methods", "learning", "nets", "evaluate", "export"}, name


def test_product_needs_only_the_extra_app():
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"\n(?:dependencies|app) = \[(.*?)\n\]", listed, re.DOTALL))
    declared = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in re.findall(r'"([\w-]+)', blocks)}
    assert not declared & {"torch", "pandas", "timm", "onnx"}
    for name in PRODUCT:
        used = set().union(*map(top_level_imports, reached(SRC / name)))
        assert used - set(sys.stdlib_module_names) - {"portraitist"} <= declared, name


def test_painting_loads_no_training_library(model, sample, tmp_path):
    avatar = tmp_path / "a.png"
    words = ["paint", str(sample / "selfies" / "0006.jpg"), "-o", str(avatar), "--model", str(model)]
    code = f"""if True:
        import sys
        sys.argv[1:] = {words!r}
        from portraitist.cli import app
        app(standalone_mode=False)
        print(*sorted(set(sys.modules) & {{"torch", "timm", "pandas", "onnx", "dvc", "albumentations"}}))
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == ""
    assert avatar.exists()


def test_stage_scripts_are_short_and_hold_no_pixels():
    scripts = {script(stage) for stage in stages().values()}
    libraries = {"numpy", "torch", "torchvision", "PIL", "albumentations", "timm", "cv2"}
    assert {path.stem: found for path in scripts if (found := top_level_imports(path) & libraries)} == {}
    lengths = {path.stem: len(path.read_text(encoding="utf-8").splitlines()) for path in scripts}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


def test_one_word_names_stage_section_and_files():
    """Sections that several stages share are named for their content: generator, content, fetch."""
    names = {name.partition("@")[0] for name in stages()}
    assert set(SECTIONS) - {"generator", "content", "fetch"} <= names
    for stage in names - {"evaluate_selfies", "train_generator", "train_mask"}:
        assert (SRC / stage).is_dir() or (SRC / f"{stage}.py").is_file(), stage
        assert (ROOT / "tests" / stage).is_dir() or not (SRC / stage).is_dir(), stage
