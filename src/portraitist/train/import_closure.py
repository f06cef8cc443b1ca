"""Static import closure: all files of the project that a file imports, directly or through other files.

The files are parsed, not executed. Imports inside functions are included. Imports by a computed name are not, so the
caller must pass the files of such modules as well.
"""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path


def module_file(module: str, packages: Mapping[str, Path]) -> Path | None:
    """Return the file of a dotted module name; None if it is neither a module nor a package below `packages`.

    `packages` maps each top-level package to its folder.
    """
    top, *inner = module.split(".")
    if top not in packages:
        return None
    base = packages[top].joinpath(*inner)
    candidates = [base / "__init__.py"] if not inner else [base.with_suffix(".py"), base / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def imported_modules(file: Path, packages: Mapping[str, Path]) -> set[str]:
    """Return the modules below `packages` that a file imports, and the packages that contain them.

    `from x import y` counts as an import of x, and of x.y if that is a module. Relative imports are not supported.
    """
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parents = {name.rsplit(".", level)[0] for name in names for level in range(1, name.count(".") + 1)}
    return {name for name in names | parents if module_file(name, packages)}


def import_closure(files: Iterable[Path], packages: Mapping[str, Path]) -> set[Path]:
    """Return the files, and all files below `packages` that they import directly or indirectly."""
    pending, found = set(files), set()
    while pending:
        file = pending.pop()
        found.add(file)
        imported = {module_file(name, packages) for name in imported_modules(file, packages)}
        pending |= {path for path in imported if path} - found
    return found
