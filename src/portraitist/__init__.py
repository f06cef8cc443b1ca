"""Turn a selfie into a hand-painted avatar.

Importing the package turns off the usage reports and update checks of its dependencies, before any of them is loaded:
ONNX Runtime (telemetry, on by default from 1.32), albumentations (update check), huggingface_hub (telemetry).
"""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import Any

__all__ = ["Avatar", "Portraitist"]

NO_REPORTS = {"ORT_DISABLE_TELEMETRY": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
os.environ.update(NO_REPORTS)
if sys.modules.get("onnxruntime") is not None:  # imported by the caller: its files are written, but sending can stop
    sys.modules["onnxruntime"].disable_telemetry_events()


def __getattr__(name: str) -> Any:
    """Import the public names on first use, so that `import portraitist` does not load onnxruntime."""
    if name == "__version__":
        return version("portraitist")
    if name in __all__:
        return getattr(import_module("portraitist.app.avatar"), name)
    raise AttributeError(f"module 'portraitist' has no attribute {name!r}; it has {', '.join(__all__)}")
