"""Trainable methods, one file each. This module imports no torch, so that any stage can list the methods by name."""

from pathlib import Path

NOT_METHODS = {"base", "registry"}  # neither are files with a leading underscore, which some methods share


def method_names() -> list[str]:
    """Return the names of all trainable files in this folder, sorted, without importing any of them."""
    return sorted({path.stem for path in Path(__file__).parent.glob("[!_]*.py")} - NOT_METHODS)
