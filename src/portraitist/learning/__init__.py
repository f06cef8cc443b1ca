"""What all trainings share: tensors, losses, optimizer steps, data, and the registry of methods.

This module imports no torch, so that stages that train nothing can list the methods by name.
"""

from pathlib import Path

METHODS = Path(__file__).parents[1] / "methods"


def method_names() -> list[str]:
    """Return the names of the trainable files in methods/, sorted, without importing any of them.

    Files with a leading underscore are shared by several methods.
    """
    return sorted(path.stem for path in METHODS.glob("[!_]*.py"))
