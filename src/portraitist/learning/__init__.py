"""Code that all trainings share: tensors, losses, optimizer steps, data, and the registry of methods.

This module does not import torch, so that stages without training can list the methods quickly.
"""

from pathlib import Path

METHODS = Path(__file__).parents[1] / "methods"


def method_names() -> list[str]:
    """Return the sorted names of all methods, without importing them.

    A method is a file in methods/; files with a leading underscore are shared code.
    """
    return sorted(path.stem for path in METHODS.glob("[!_]*.py"))
