"""Find the files of this project that a module imports, directly or indirectly."""

from functools import cache
from pathlib import Path

from portraitist.train.import_closure import import_closure, imported_modules, module_file

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"portraitist": ROOT / "src" / "portraitist", "pipeline": ROOT / "pipeline"}


@cache
def file_of(module: str) -> Path | None:
    """Return the file of a module of this project; None for other modules."""
    return module_file(module, PACKAGES)


@cache
def imported(path: Path) -> set[str]:
    """Return the modules of this project that a file imports, with the packages that contain them."""
    return imported_modules(path, PACKAGES)


@cache
def reached(path: Path) -> set[Path]:
    """Return a file and all files of this project that it imports, directly or indirectly."""
    return import_closure([path], PACKAGES)
