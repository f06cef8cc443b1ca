"""One file per method. This module imports no torch: stages that train nothing list the methods by name."""

from pathlib import Path

SHARED = {"base", "registry"}  # every method uses these; names with a leading underscore are shared by some


def method_names() -> list[str]:
    """Return the names of all trainable files in this folder, sorted, without importing any of them."""
    return sorted({path.stem for path in Path(__file__).parent.glob("[!_]*.py")} - SHARED)
