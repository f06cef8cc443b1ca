"""A selfie becomes a hand-painted avatar."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__all__ = ["Avatar", "Portraitist"]


def __getattr__(name: str) -> Any:
    """The product's names, brought when they are asked for: who asks for none loads no runtime."""
    if name == "__version__":
        return version("portraitist")
    if name in __all__:
        return getattr(import_module("portraitist.avatar"), name)
    raise AttributeError(f"module 'portraitist' has no attribute {name!r}; it has {', '.join(__all__)}")
