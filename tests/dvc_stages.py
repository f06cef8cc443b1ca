"""Read dvc.yaml as DVC does: every stage with its command, dependencies, parameters and outputs."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from reach import ROOT, reached

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
VARS = PARAMS | {key: value for block in DVC["vars"] for key, value in block.items()}
VARS["sources"] = list(PARAMS["collect"])  # all sources, to check the stage of each
DATA = ("data", "models", "metrics", "logs")
SRC = ROOT / "src" / "portraitist"


def read_profile(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))


def lookup(name: str, content: Any) -> Any:
    """Return the value at a dotted name in nested dictionaries."""
    for key in name.split("."):
        content = content[key]
    return content


def interpolate(value: Any, context: dict[str, Any]) -> Any:
    """Replace every ${name} in a part of dvc.yaml, as DVC does."""
    if isinstance(value, dict):
        return {interpolate(key, context): interpolate(inner, context) for key, inner in value.items()}
    if isinstance(value, list):
        return [interpolate(inner, context) for inner in value]
    if not isinstance(value, str):
        return value
    return re.sub(r"\$\{([\w.]+)\}", lambda match: str(lookup(match[1], context)), value)


@cache
def stages() -> dict[str, dict[str, Any]]:
    """Return each stage by its name in DVC, such as `train@cut`; `foreach` is expanded."""
    found = {}
    for name, stage in DVC["stages"].items():
        if "foreach" not in stage:
            found[name] = interpolate(stage, VARS)
            continue
        items = lookup(stage["foreach"][2:-1], VARS)
        for key, item in items.items() if isinstance(items, dict) else zip(items, items, strict=True):
            found[f"{name}@{key}"] = interpolate(stage["do"], VARS | {"key": key, "item": item})
    return found


def outputs(stage: dict[str, Any]) -> dict[str, bool]:
    """Return the path of each output of a stage, and whether DVC caches it."""
    entries = [*stage.get("outs", []), *stage.get("plots", []), *stage.get("metrics", [])]
    pairs = [(entry, {}) if isinstance(entry, str) else next(iter(entry.items())) for entry in entries]
    return {path: options.get("cache", True) for path, options in pairs}


def script(stage: dict[str, Any]) -> Path:
    """Return the file that a stage's command runs."""
    module = re.search(r"-m ([\w.]+)", stage["cmd"])[1]
    return ROOT / Path(*module.split(".")).with_suffix(".py")


def code_deps(stage: dict[str, Any]) -> list[Path]:
    """Return the files and folders of code that a stage depends on."""
    return [ROOT / dep for dep in stage["deps"] if dep.startswith(("src/", "pipeline/"))]


def depends_on(stage: dict[str, Any], file: Path) -> bool:
    """Return whether DVC runs a stage again after a change to a file."""
    return any(file == dep or file.is_relative_to(dep) for dep in code_deps(stage))


@cache
def upstream(name: str) -> set[str]:
    """Return the names of all stages that DVC runs before a stage, because it depends on their outputs."""
    deps = [Path(dep) for dep in stages()[name]["deps"]]
    writers = {
        other
        for other, stage in stages().items()
        for path in map(Path, outputs(stage))
        if any(path.is_relative_to(dep) or dep.is_relative_to(path) for dep in deps)
    }
    return writers.union(*map(upstream, writers))


def stale_after(*changed: str) -> set[str]:
    """Return the stages that DVC runs again after changes to files below src/portraitist, or in pipeline/."""
    files = [ROOT / name if name.startswith("pipeline/") else SRC / name for name in changed]
    assert all(file.is_file() for file in files), changed
    return {name for name, stage in stages().items() if any(depends_on(stage, file) for file in files)}


def needed_code(name: str) -> set[Path]:
    """Return the files of code that can change a stage's output.

    These are the modules that it imports, and modules that it finds by name: a source, and the method of each
    checkpoint that it reads or writes.
    """
    stage = stages()[name]
    files = set(reached(script(stage)))  # a copy, because the result of `reached` is cached
    key = name.partition("@")[2]
    if name.startswith("collect@"):
        files |= reached(SRC / "sources" / f"{key}.py")
    if name == "export":
        files |= set((SRC / "nets").glob("*.py"))  # for any method that may be exported
    stylizes = name.startswith(("train", "paint", "export"))
    checkpoints = [path for path in [*stage["deps"], *outputs(stage)] if path.endswith(".pt")] if stylizes else []
    for checkpoint in checkpoints:
        if not (name.startswith("train@") and checkpoint in stage["deps"]):  # else its hash changes
            files |= reached(SRC / "methods" / f"{method_in(checkpoint)}.py")
    return files


def method_in(checkpoint: str) -> str:
    """Return the name of the method in a checkpoint: a constant of the stage's script, or else the file's name."""
    writer = next(stage for stage in stages().values() if checkpoint in outputs(stage))
    constant = re.search(r'^METHOD = "(\w+)"', script(writer).read_text(encoding="utf-8"), re.MULTILINE)
    return constant[1] if constant else Path(checkpoint).stem
