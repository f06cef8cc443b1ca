"""Code that all trainings share: tensors, losses, optimizer steps, data, and the registry of methods.

Importing this package does not import torch. Pipeline stages that train nothing can therefore list the methods
quickly.
"""

from pathlib import Path

METHODS = Path(__file__).parents[1] / "methods"


def method_names() -> list[str]:
    """Return the sorted names of all methods, without importing their files.

    Each file in methods/ contains one method, and the file's name is the method's name. Files whose names start with an
    underscore contain code that several methods share.
    """
    return sorted(path.stem for path in METHODS.glob("[!_]*.py"))
