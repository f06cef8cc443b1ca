"""Which files of the project a module imports, directly or through others."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@cache
def file_of(module: str) -> Path | None:
    """Return the file of a module or package of the project; None if there is none."""
    base = ROOT / ("src" if module.startswith("portraitist") else "") / module.replace(".", "/")
    found = [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    return found[0] if found else None


@cache
def imported(path: Path) -> set[str]:
    """Return the project's modules that a file imports, with the packages above them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    ours = {name for name in names if name.split(".")[0] in ("portraitist", "pipeline")}
    parents = {name.rsplit(".", up)[0] for name in ours for up in range(1, name.count(".") + 1)}
    return {name for name in ours | parents if file_of(name)}


def reached(path: Path) -> set[Path]:
    """Return a file and all files of the project that it imports, directly or through others."""
    todo, done = {path}, set()
    while todo:
        current = todo.pop()
        done.add(current)
        todo |= {file for name in imported(current) if (file := file_of(name))} - done
    return done
