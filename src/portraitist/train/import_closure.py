"""Find all files of the project that a file imports, directly or through other files.

The files are parsed, not executed. Imports inside functions are found. Imports by a name that is computed at run time
are not found; the caller must add the files of such modules.
"""

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path


def module_file(module: str, packages: Mapping[str, Path]) -> Path | None:
    """Return the file of a module or package; None if it does not belong to `packages`.

    Args:
        module: dotted name, such as "portraitist.train.loop".
        packages: the folder of each top-level package, by its name.
    """
    top, *inner = module.split(".")
    if top not in packages:
        return None
    base = packages[top].joinpath(*inner)
    candidates = [base / "__init__.py"] if not inner else [base.with_suffix(".py"), base / "__init__.py"]
    return next((path for path in candidates if path.is_file()), None)


def imported_modules(file: Path, packages: Mapping[str, Path]) -> set[str]:
    """Return the names of the modules that a file imports, and the names of their parent packages.

    For example, `import portraitist.train.loop` gives portraitist.train.loop, portraitist.train and portraitist.
    Modules that do not belong to `packages` are left out.

    `from x import y` counts as an import of x, and of x.y if x.y is a module. Relative imports are not supported.

    Args:
        file: Python file.
        packages: the folder of each top-level package, by its name.
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
    """Return the given files, and all files in `packages` that they import directly or indirectly.

    Args:
        files: Python files.
        packages: the folder of each top-level package, by its name.
    """
    pending, found = set(files), set()
    while pending:
        file = pending.pop()
        found.add(file)
        imported = {module_file(name, packages) for name in imported_modules(file, packages)}
        pending |= {path for path in imported if path} - found
    return found
