"""dvc.yaml is correct: each stage lists the code, data and parameters that can change its outputs, and nothing else.

Each test loops over all stages and reports every offender.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import yaml
from dvc_stages import (
    DATA,
    DVC,
    PARAMS,
    SRC,
    VARS,
    code_deps,
    depends_on,
    lookup,
    needed_code,
    outputs,
    read_profile,
    script,
    stages,
    upstream,
)
from reach import ROOT

from portraitist.all_params import PROFILE_KEYS, SECTIONS
from portraitist.collect.params import SOURCES, CollectParams

PROFILE = read_profile(PARAMS["profile"])
# These files load parameters and put src on the path. A change to them can stop a stage, but not change its outputs.
EXEMPT = {ROOT / "pipeline" / "__init__.py", ROOT / "pipeline" / "stage.py", SRC / "__init__.py"}
WITHOUT_EFFECT = "workers"  # a section of params.yaml on which no output depends
UPSTREAM = {"generator": "models/generator.pt", "segmenter": "models/mask.pt"}


def relative(paths):
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


def has_code(path):
    """Return whether a file holds more than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(path.read_text(encoding="utf-8")).body)


def is_below(path, folder):
    return path == folder or path.startswith(f"{folder}/")


def data_paths(stage):
    return [word for word in stage["cmd"].split() if word.split("/")[0] in DATA]


def data_deps(stage):
    return [dep for dep in stage["deps"] if dep.split("/")[0] in DATA]


def loaded_sections(name, stage):
    """Return the sections of the parameters that a stage's script loads."""
    key = name.partition("@")[2]
    for node in ast.walk(ast.parse(script(stage).read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        if node.func.id == "load_or_exit":
            argument = node.args[1]  # "crop", or f"collect.{name}"
            yield argument.value if isinstance(argument, ast.Constant) else f"collect.{key}"
        if node.func.id == "load_methods_or_exit" and key:
            yield f"methods.{key}"


def listed_sections(stage):
    own, profile = set(), set()
    for entry in stage.get("params", []):
        if isinstance(entry, str):
            own.add(entry)
        else:
            ((path, keys),) = entry.items()
            assert path == f"profiles/{PARAMS['profile']}.yaml"
            profile |= set(keys)
    return own, profile


def has_section(content, name):
    try:
        return lookup(name, content) is not None
    except (KeyError, TypeError):
        return False


def test_stage_runs_script_of_its_name():
    wrong = [name for name, stage in stages().items() if script(stage).stem != name.partition("@")[0]]
    assert wrong == []
    assert all(script(stage).is_file() for stage in stages().values())


def test_all_code_that_can_change_a_stage_is_listed():
    missing = {
        name: relative(unlisted)
        for name, stage in stages().items()
        if (unlisted := {f for f in needed_code(name) - EXEMPT if has_code(f) and not depends_on(stage, f)})
    }
    assert missing == {}


def test_every_listed_code_dep_is_needed():
    """A folder is needed if one of its files is needed."""
    # each is used by several sources; every source lists the folder
    shared = set((SRC / "sources" / "helpers").glob("*.py"))
    unneeded = {}
    for name, stage in stages().items():
        needed = needed_code(name) | (shared if name.startswith("collect@") else set())
        code = [dep for dep in code_deps(stage) if dep.suffix in ("", ".py")]  # not the report's stylesheet
        extra = [dep for dep in code if not any(file.is_relative_to(dep) for file in needed)]
        if extra:
            unneeded[name] = relative(extra)
    assert unneeded == {}


def test_dvc_yaml_is_short():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert len(re.findall(r"\b(?:src|pipeline)/", text)) <= 130
    assert len(text.splitlines()) <= 350


def test_command_paths_are_deps_or_outputs():
    unknown = {
        name: wrong
        for name, stage in stages().items()
        if (
            wrong := [
                path
                for path in data_paths(stage)
                if not any(
                    is_below(path, known) or is_below(known, path) for known in [*stage["deps"], *outputs(stage)]
                )
            ]
        )
    }
    assert unknown == {}


def test_data_deps_and_outputs_are_in_the_command():
    unused = {}
    for name, stage in stages().items():
        from_params = set()
        if name == "augment":
            from_params = {PARAMS["augment"]["backgrounds_folder"]}
        if name.startswith("collect@"):
            source = name.partition("@")[2]  # the folders that stage sources checks and the source reads
            from_params = {f"data/sources/{source}", f"data/local/{source}", PARAMS["collect"]["folder"]["path"]}
        words = [*data_paths(stage), *from_params]
        paths = [*outputs(stage), *data_deps(stage)]
        wrong = [path for path in paths if not any(is_below(path, word) or is_below(word, path) for word in words)]
        if wrong:
            unused[name] = wrong
    assert unused == {}


def test_each_path_has_one_writer_and_exists_or_is_made():
    written = [path for stage in stages().values() for path in outputs(stage)]
    assert len(written) == len(set(written))
    missing = [
        (name, dep)
        for name, stage in stages().items()
        for dep in stage["deps"]
        if not any(is_below(path, dep) or is_below(dep, path) for path in written) and not (ROOT / dep).exists()
    ]
    assert missing == []


def test_listed_params_are_those_the_script_loads():
    wrong = {}
    for name, stage in stages().items():
        own, profile = listed_sections(stage)
        if name == "sources":  # it depends on all sections that it checks
            assert (own, profile) == ({"profile", "sources", "collect", "limits", "export.method"}, set())
            continue
        loaded = set(loaded_sections(name, stage)) - {WITHOUT_EFFECT}
        # a single parameter of a section, such as mask.model
        narrow = {entry for entry in own if entry.rpartition(".")[0] in loaded}
        loaded -= {entry.rpartition(".")[0] for entry in narrow}
        classes = [CollectParams if section.startswith("collect.") else SECTIONS.get(section) for section in loaded]
        fields = set().union(*(cls.model_fields for cls in classes if cls))
        shared = {key for key in ("seed", "shard_size") if key in fields}
        limit = {f"limits.{name.partition('@')[2]}"} if name.startswith("collect@") else set()
        expected = (
            {section for section in loaded if has_section(PARAMS, section)} | shared | limit | narrow,
            {section for section in loaded if has_section(PROFILE, section)} | (shared - {"seed"}) | limit,
        )
        if (own, profile) != expected:
            wrong[name] = {"listed": (own, profile), "loaded": expected}
    assert wrong == {}


def test_no_value_from_params_reaches_a_shell():
    """`dvc exp run -S` sets any text; only `launch` is a command, and profile names name files that DVC opens."""
    allowed = {"launch", "key", "item"}
    used = {
        (name, variable)
        for name, stage in DVC["stages"].items()
        for variable in re.findall(r"\$\{([\w.]+)\}", stage.get("do", stage)["cmd"])
        if variable not in allowed and not variable.startswith("item.")
    }
    assert used == set()


def test_git_ignores_exactly_what_dvc_caches():
    cached = {path: is_cached for stage in stages().values() for path, is_cached in outputs(stage).items()}
    names = "".join(f"{path}/x\n" for path in cached)  # the pattern of a folder ends in a slash
    command = ["git", "check-ignore", "--no-index", "--verbose", "--non-matching", "--stdin"]
    answer = subprocess.run(command, cwd=ROOT, input=names, capture_output=True, text=True, check=False).stdout
    ignored = dict(zip(cached, [line.startswith(".gitignore:") for line in answer.splitlines()], strict=True))
    assert ignored == cached


def test_no_stage_is_frozen_or_keeps_old_outputs():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert not re.search(r"\b(persist|frozen|always_changed)\b", text)


def test_each_source_has_a_file_a_section_and_a_folder():
    files = {path.stem for path in (SRC / "sources").glob("[!_]*.py")}
    assert files == set(PARAMS["collect"]) == set(SOURCES)
    folders = {name: (ROOT / "data" / "local" / name).resolve() for name in files}
    assert folders == {name: (ROOT / section["path"]).resolve() for name, section in PARAMS["collect"].items()}
    assert [name for name, folder in folders.items() if not folder.is_dir()] == []
    assert [name for name in files if f"data/local/{name}" not in stages()[f"collect@{name}"]["deps"]] == []


def test_export_needs_no_other_method():
    """`dvc repro export` trains one method, and stages 1 and 2 only if it starts from them."""
    trained = {name for name in upstream("export") if name.startswith("train")}
    assert trained == {"train_mask", f"train@{PARAMS['export']['method']}"}
    assert "compare" not in set().union(*map(upstream, stages()))


def test_headline_metrics_are_the_only_metrics_of_dvc():
    declared = {name: stage["metrics"] for name, stage in stages().items() if "metrics" in stage}
    assert declared == {"export": [{"metrics/summary.json": {"cache": False}}]}
    uncached = {path for stage in stages().values() for path, cached in outputs(stage).items() if not cached}
    assert uncached == {"metrics/summary.json", "metrics/compare.md"}


def test_each_method_has_a_file_a_section_and_a_line():
    files = {path.stem for path in (SRC / "methods").glob("[!_]*.py")} - {"perceptual", "unet_mask"}
    assert files == set(PARAMS["methods"]) == set(VARS["compared_methods"]) | {"ugatit"}  # too slow for every run
    assert PARAMS["export"]["method"] in VARS["compared_methods"]


def test_methods_depend_on_the_upstream_models_they_require():
    wrong = {}
    for method in VARS["compared_methods"]:
        source = (SRC / "methods" / f"{method}.py").read_text(encoding="utf-8")
        required = {path for name, path in UPSTREAM.items() if re.search(rf'upstream\.require\("{name}"\)', source)}
        listed = set(stages()[f"train@{method}"]["deps"]) & set(UPSTREAM.values())
        if required != listed:
            wrong[method] = (required, listed)
    assert wrong == {}


def test_profile_sections_are_those_that_stages_list():
    listed = set().union(*(listed_sections(stage)[1] for stage in stages().values()))
    assert {section.partition(".")[0] for section in listed} == PROFILE_KEYS - {WITHOUT_EFFECT}


def test_collected_pictures_are_never_pushed():
    wrong = [
        name
        for name, stage in stages().items()
        if name.startswith("collect@") and stage["outs"] != [{f"data/raw/{name.partition('@')[2]}": {"push": False}}]
    ]
    assert wrong == []


def test_profiles_have_equal_keys():
    def keys(content, prefix=""):
        for key, value in content.items():
            yield f"{prefix}{key}"
            if isinstance(value, dict):
                yield from keys(value, f"{prefix}{key}.")

    expected = set(keys(read_profile("sample")))
    profiles = [path.stem for path in (ROOT / "profiles").glob("*.yaml")]
    assert {name: set(keys(read_profile(name))) ^ expected for name in profiles} == {name: set() for name in profiles}


def test_full_profile_has_the_counts_of_the_recipe():
    limits = read_profile("full")["limits"]
    assert (limits["celeba"], limits["id_photos"]) == (350, 340)
    assert sum(limits[source] for source in ("baidu", "google", "taobao")) == 311


def test_dvc_loads_dvc_yaml():
    names = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--name-only"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    unused = {f"collect@{source}" for source in set(SOURCES) - set(PARAMS["sources"])}
    assert set(names.stdout.split()) == set(stages()) - unused


def test_plots_and_artifacts_are_outputs():
    written = [path for stage in stages().values() for path in outputs(stage)]
    plots = [next(iter(plot.items())) if isinstance(plot, dict) else (plot, {}) for plot in DVC["plots"]]
    paths = [path for name, plot in plots for path in plot.get("y", [name])]
    paths += [artifact["path"] for artifact in DVC["artifacts"].values()]
    paths = [path.replace("${export.method}", PARAMS["export"]["method"]) for path in paths]
    assert [path for path in paths if not any(is_below(path, output) for output in written)] == []


def test_params_and_profiles_are_plain_yaml():
    """No anchors: DVC's -S rewrites these files and would expand them."""
    files = [ROOT / "params.yaml", *(ROOT / "profiles").glob("*.yaml")]
    anchors = [path.name for path in map(Path, files) if re.search(r"[:\-] [&*]\w", path.read_text(encoding="utf-8"))]
    assert anchors == []
    assert all(isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict) for path in files)
