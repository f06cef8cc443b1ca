"""The project's files that a module imports, directly or indirectly."""

from functools import cache
from pathlib import Path

from portraitist.train.import_closure import import_closure, imported_modules, module_file

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"portraitist": ROOT / "src" / "portraitist", "pipeline": ROOT / "pipeline"}


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of the project."""
    return module_file(module, PACKAGES)


@cache
def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, each with the packages that contain it."""
    return imported_modules(path, PACKAGES)


@cache
def reached(path: Path) -> set[Path]:
    """The file, and all files of the project that it imports directly or indirectly."""
    return import_closure([path], PACKAGES)
