"""dvc.yaml says what is so: all code that a stage reaches, all it is told, all it reads and writes."""

import ast
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from reach import ROOT, reached

from portraitist.all_params import PROFILE_SECTIONS, SECTIONS
from portraitist.collect.params import SOURCES as SHAPES
from portraitist.collect.params import CollectParams

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def read_profile(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "profiles" / f"{name}.yaml").read_text(encoding="utf-8"))


PROFILE = read_profile(PARAMS["profile"])
VARS = PARAMS | {key: value for given in DVC["vars"] for key, value in given.items()}
METHODS = "src/portraitist/methods"
SOURCES = "src/portraitist/sources"
EVALUATE = "src/portraitist/evaluate"
DATA = ("data", "models", "metrics", "logs")
MADE = {"generator": "models/generator.pt", "segmenter": "models/mask.pt"}


def filled(value: Any, known: dict[str, Any]) -> Any:
    """A part of dvc.yaml with every ${name} replaced, as DVC does it."""
    if isinstance(value, dict):
        return {filled(key, known): filled(inner, known) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, known) for inner in value]
    return re.sub(r"\$\{([\w.]+)\}", lambda found: str(at(found[1], known)), value) if isinstance(value, str) else value


def at(name: str, known: dict[str, Any]) -> Any:
    for key in name.split("."):
        known = known[key]
    return known


def stages() -> dict[str, dict[str, Any]]:
    """Each stage as DVC runs it, `foreach` expanded."""
    found = {}
    for name, stage in DVC["stages"].items():
        if "foreach" not in stage:
            found[name] = filled(stage, VARS)
            continue
        for key, item in at(stage["foreach"][2:-1], VARS).items():
            found[f"{name}@{key}"] = filled(stage["do"], VARS | {"key": key, "item": item})
    return found


STAGES = stages()
each_stage = pytest.mark.parametrize("name", STAGES)


def outs(stage):
    """Each out and whether DVC caches it."""
    for out in [*stage.get("outs", []), *stage.get("plots", []), *stage.get("metrics", [])]:
        path, told = (out, {}) if isinstance(out, str) else next(iter(out.items()))
        yield path, told.get("cache", True)


def module(stage):
    return ROOT / Path(*re.match(r"python -m ([\w.]+)", stage["cmd"])[1].split(".")).with_suffix(".py")


def listed_code(stage):
    files = set()
    for dep in stage["deps"]:
        if dep.startswith(("src/", "pipeline/")):
            files |= set((ROOT / dep).glob("*.py")) if (ROOT / dep).is_dir() else {ROOT / dep}
    return files


def that_do(files):
    """The files by their paths, without those that only say what a package is: listing one of these or not is one.

    Without the package's own door, too: it hands on names, and no stage asks it for any.
    """
    door = ROOT / "src" / "portraitist" / "__init__.py"
    bodies = {path: ast.parse(path.read_text(encoding="utf-8")).body for path in files if path != door}
    return {
        path.relative_to(ROOT).as_posix()
        for path, body in bodies.items()
        if any(not isinstance(node, ast.Expr) for node in body)
    }


def method_in(checkpoint):
    """The method whose name stands in a checkpoint: stage 1 and 2 say theirs, stage 3's is the file's name."""
    made_by = next(stage for stage in STAGES.values() if checkpoint in dict(outs(stage)))
    constant = re.search(r'^METHOD = "(\w+)"', module(made_by).read_text(encoding="utf-8"), re.M)
    return constant[1] if constant else Path(checkpoint).stem


def needed_code(stage):
    """What the stage's module imports, and what it finds by name: a source, all metrics, the methods of its models."""
    files = reached(module(stage)) | {ROOT / "pipeline" / "__init__.py"}
    words = stage["cmd"].split()
    if (source := ROOT / "src" / "portraitist" / "sources" / f"{words[3]}.py").exists():
        files |= reached(source)
    if any(path == ROOT / EVALUATE / "__init__.py" for path in files):
        for metric in (ROOT / EVALUATE).glob("*.py"):
            files |= reached(metric)
    if stage["cmd"].startswith("python -m pipeline.export"):  # whichever method is exported: all networks
        files |= set((ROOT / "src" / "portraitist" / "nets").glob("*.py"))
    models = {path for path in [*stage["deps"], *dict(outs(stage))] if path.endswith(".pt")}
    for method in {method_in(model) for model in models}:
        files |= reached(ROOT / METHODS / f"{method}.py")
    return files


def sections_loaded(name, stage):
    """The sections of params that a stage's module asks for, by the names it gives them."""
    key = name.partition("@")[2]
    for node in ast.walk(ast.parse(module(stage).read_text(encoding="utf-8"))):
        pair = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
        if len(pair) == 2 and isinstance(pair[0], ast.Name) and pair[0].id.endswith("Params"):
            yield pair[1].value
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "method_or_exit":
            yield f"methods.{key}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "source_or_exit":
            yield from (f"collect.{key}", "fetch")


def sections_listed(stage):
    own, profile = set(), set()
    for entry in stage.get("params", []):
        if isinstance(entry, str):
            own.add(entry)
        else:
            ((path, keys),) = entry.items()
            assert path == f"profiles/{PARAMS['profile']}.yaml"
            profile |= set(keys)
    return own, profile


def holds(content, section):
    try:
        return at(section, content) is not None
    except KeyError:
        return False


def paths_in(stage):
    return [word for word in stage["cmd"].split()[3:] if word.split("/")[0] in DATA]


def below(path, folder):
    return path == folder or path.startswith(f"{folder}/")


@each_stage
def test_the_command_is_a_module_of_the_pipeline(name):
    assert module(STAGES[name]).is_file()
    assert module(STAGES[name]).stem == name.partition("@")[0]


@each_stage
def test_all_code_that_a_stage_reaches_is_listed(name):
    assert that_do(needed_code(STAGES[name])) - that_do(listed_code(STAGES[name])) == set()


@each_stage
def test_no_code_is_listed_that_a_stage_does_not_reach(name):
    needed = needed_code(STAGES[name])
    if name.startswith("collect"):  # one list for all sources: what some of them share, all of them list
        for helper in (ROOT / SOURCES).glob("_*.py"):
            needed |= reached(helper)
    assert that_do(listed_code(STAGES[name])) - that_do(needed) == set()


@each_stage
def test_every_path_of_the_command_is_read_or_written(name):
    stage = STAGES[name]
    known = [*stage["deps"], *dict(outs(stage))]
    for path in paths_in(stage):
        assert any(below(path, one) or below(one, path) for one in known), path


@each_stage
def test_every_out_and_every_data_dep_is_in_the_command(name):
    stage = STAGES[name]
    told = {PARAMS["augment"]["folder"]} if name == "augment" else set()
    if name.startswith("collect"):
        told = {at(name.partition("@")[2], PARAMS["collect"])["path"]}
    for path in [*dict(outs(stage)), *(dep for dep in stage["deps"] if dep.split("/")[0] in DATA)]:
        assert path in told or any(below(path, word) or below(word, path) for word in paths_in(stage)), path


def test_a_path_is_written_by_one_stage_and_read_only_if_written_or_shipped():
    written = [path for stage in STAGES.values() for path in dict(outs(stage))]
    assert len(written) == len(set(written))
    for name, stage in STAGES.items():
        for dep in stage["deps"]:
            assert any(below(path, dep) for path in written) or (ROOT / dep).exists(), f"{name}: {dep}"


@each_stage
def test_every_param_that_is_listed_stands_in_its_file(name):
    own, profile = sections_listed(STAGES[name])
    assert [key for key in own if not holds(PARAMS, key)] == []
    assert [key for key in profile if not holds(PROFILE, key)] == []


@each_stage
def test_the_params_that_are_listed_are_those_that_the_stage_loads(name):
    own, profile = sections_listed(STAGES[name])
    loaded = set(sections_loaded(name, STAGES[name]))
    shapes = [CollectParams if section.startswith("collect.") else SECTIONS.get(section) for section in loaded]
    seed = {"seed"} if any("seed" in shape.model_fields for shape in shapes if shape) else set()
    assert own == {section for section in loaded if holds(PARAMS, section)} | seed
    assert profile == {section for section in loaded if holds(PROFILE, section)}


@each_stage
def test_what_dvc_caches_git_ignores_by_the_hand_written_list_and_nothing_else(name):
    for path, cached in outs(STAGES[name]):
        command = ["git", "check-ignore", "--no-index", "--verbose", f"{path}/x"]  # a folder's line ends in a slash
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        assert said.startswith(".gitignore:") == cached, f"{path}: {said or 'not ignored'}"


@each_stage
def test_no_stage_is_frozen_and_no_out_outlives_its_stage(name):
    assert not re.search(r"\b(persist|frozen|always_changed)\b", yaml.safe_dump(STAGES[name]))


def test_every_source_is_a_file_a_section_and_a_dep_of_those_that_read_them_all():
    files = {path.stem for path in (ROOT / SOURCES).glob("[!_]*.py")}
    assert files == set(PARAMS["collect"]) == set(SHAPES)
    for reader in ("clean", "split"):
        assert {dep for dep in STAGES[reader]["deps"] if dep.startswith("data/raw/")} == {
            f"data/raw/{one}" for one in files
        }


def test_a_profile_may_hold_what_some_stage_lists_of_it():
    listed = set().union(*(sections_listed(stage)[1] for stage in STAGES.values()))
    assert {section.partition(".")[0] for section in listed} == PROFILE_SECTIONS


def test_what_was_collected_is_never_pushed():
    for name, stage in STAGES.items():
        if name.startswith("collect"):
            (out,) = stage["outs"]
            assert out == {f"data/raw/{name.partition('@')[2]}": {"push": False}}


def test_the_counts_of_the_recipe_stand_in_the_full_profile():
    limits = {name: told["limit"] for name, told in read_profile("full")["collect"].items() if told["limit"]}
    assert (limits.pop("celeba"), limits.pop("id_photos")) == (350, 340)
    assert sum(limits.values()) == 311


def test_every_method_is_a_file_a_section_and_a_line():
    files = {path.stem for path in (ROOT / METHODS).glob("[!_]*.py")} - {"perceptual", "unet_mask"}
    assert files == set(PARAMS["methods"]) == set(VARS["painters"])
    assert PARAMS["export"]["method"] in files


@pytest.mark.parametrize("method", VARS["painters"])
def test_touching_a_methods_file_reruns_that_method_only(method):
    file = f"{METHODS}/{method}.py"
    like = {key for key, line in VARS["painters"].items() if line["like"] == method}
    own = {f"{stage}@{key}" for stage in ("train", "paint") for key in {method} | like}
    exported = {"export"} if method == PARAMS["export"]["method"] else set()
    assert {name for name, stage in STAGES.items() if file in stage["deps"]} == own | exported


@pytest.mark.parametrize("method", VARS["painters"])
def test_a_method_depends_on_stages_1_and_2_only_if_it_asks_for_what_they_made(method):
    file = (ROOT / METHODS / f"{method}.py").read_text(encoding="utf-8")
    asks = {made for part, made in MADE.items() if re.search(rf"needed\(given\.{part}\b", file)}
    deps = STAGES[f"train@{method}"]["deps"]
    assert set(deps) & set(MADE.values()) == asks
    assert set(deps) >= {"models/pretrained", *asks}


def keys(content, above=""):
    for key, value in content.items():
        yield f"{above}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")


@pytest.mark.parametrize("profile", sorted((ROOT / "profiles").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_says_as_much_as_the_samples(profile):
    sample = yaml.safe_load((ROOT / "profiles" / "sample.yaml").read_text(encoding="utf-8"))
    assert set(keys(yaml.safe_load(profile.read_text(encoding="utf-8")))) == set(keys(sample))
