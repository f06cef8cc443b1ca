"""Code that all trainings share: tensors, losses, optimizer steps, data, and the registry of methods.

Importing this package does not import torch. Pipeline stages that train nothing can therefore list the methods
quickly.
"""

from pathlib import Path

METHODS = Path(__file__).parents[1] / "methods"


def method_names() -> list[str]:
    """Return the sorted names of all training methods, without importing them.

    Each file in methods/ is one method and gives it its name. Files with a leading underscore are shared code.
    """
    return sorted(path.stem for path in METHODS.glob("[!_]*.py"))
