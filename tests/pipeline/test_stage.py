import ast
import os
import shutil
import signal
import subprocess
import sys
from resource import RLIMIT_FSIZE, setrlimit

import pytest
import yaml
from toys import ROOT

from pipeline.stage import STOPPED, check_sources_or_exit, load_or_exit, print_error
from portraitist.augment.params import AugmentParams
from portraitist.collect.params import CollectParams
from portraitist.learning.checkpoint import CheckpointError

NO_STAGES = ("__init__", "experiments", "repair", "ship", "stage", "verify")
SCRIPTS = [path for path in sorted((ROOT / "pipeline").glob("*.py")) if path.stem not in NO_STAGES]


def called_functions(stage):
    tree = ast.parse((ROOT / "pipeline" / f"{stage}.py").read_text())
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def run_stage(stage, *names, cwd, preexec_fn=None, **paths):
    """Run a stage in `cwd` with the options `paths`; each of `names` is an option whose value is that name in `cwd`."""
    options = {name: cwd / name for name in names} | paths
    command = [sys.executable, "-m", f"pipeline.{stage}"]
    command += [word for name, path in options.items() for word in (f"--{name}", str(path))]
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, preexec_fn=preexec_fn)


@pytest.fixture
def checkout(tmp_path):
    """A folder with parameters, and with one selfie in the user's folder of pictures."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    (tmp_path / "data/local/folder/selfies").mkdir(parents=True)
    (tmp_path / "data/local/folder/selfies/a.jpg").write_bytes(b"x")
    (tmp_path / "data/local/backgrounds").mkdir()
    (tmp_path / "data/local/backgrounds/wall.jpg").write_bytes(b"x")
    return tmp_path


@pytest.fixture
def experiment(checkout, monkeypatch):
    """The folder in which `dvc exp run --temp` runs: a copy of the files that git tracks."""
    folder = checkout / ".dvc/tmp/exps/tmpx"
    shutil.copytree(checkout / "profiles", folder / "profiles")
    shutil.copy(checkout / "params.yaml", folder)
    for name in ("folder", "backgrounds"):
        (folder / "data/local" / name).mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def set_path(root, path):
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["collect"]["folder"]["path"] = str(path)
    (root / "params.yaml").write_text(yaml.safe_dump(params))


def exit_message(section, name):
    with pytest.raises(SystemExit) as raised:
        load_or_exit(section, name)
    return str(raised.value)


def test_experiment_without_the_ignored_pictures_stops(experiment, checkout):
    message = exit_message(CollectParams, "collect.folder")
    assert "collect.folder.path: data/local/folder has 0 files in the experiment's folder, and 1 in the work" in message
    assert message.endswith(f"-S collect.folder.path={checkout}/data/local/folder")


def test_experiment_whose_folder_is_missing_stops(experiment):
    shutil.rmtree(experiment / "data/local/folder")
    assert "has 0 files" in exit_message(CollectParams, "collect.folder")


def test_experiment_without_the_own_backgrounds_stops(experiment, checkout):
    message = exit_message(AugmentParams, "augment")
    assert message.endswith(f"-S augment.backgrounds_folder={checkout}/data/local/backgrounds")


def test_experiment_with_an_absolute_path_runs(experiment, checkout):
    set_path(experiment, checkout / "data/local/folder")
    assert load_or_exit(CollectParams, "collect.folder").path.is_absolute()


def test_workspace_is_no_experiment(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    assert not load_or_exit(CollectParams, "collect.folder").path.is_absolute()


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "data/crop/00000.tar"), "data/crop/00000.tar: No space left on device"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            FileNotFoundError(2, "No such file or directory", "data/split.csv"),
            "data/split.csv: No such file or directory",
        ),
        (CheckpointError("models/a.pt: not a Portraitist model"), "models/a.pt: not a Portraitist model"),
    ],
)
def test_expected_errors_are_one_line(error, line, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/x/pipeline/crop.py"])
    print_error(type(error), error, None)
    assert capsys.readouterr().err == f"portraitist: crop: {line}\n"


def test_unexpected_errors_keep_their_traceback(capsys):
    print_error(KeyError, KeyError("x"), None)
    assert capsys.readouterr().err == "KeyError: 'x'\n"


@pytest.mark.parametrize(
    ("content", "found"), [(None, "file not found; `dvc repro` creates it"), (b"x" * 99, "not a ")]
)
def test_unusable_model_ends_a_stage_with_one_line(checkout, content, found):
    if content:
        (checkout / "model").write_bytes(content)
    ran = run_stage("paint", "model", "crops", "masks", "split", "on-backgrounds", "pretrained", "out", cwd=checkout)
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"portraitist: paint: {checkout}/model: {found}")
    assert "Traceback" not in ran.stderr


def test_failed_write_ends_any_stage_with_one_line(checkout):
    (checkout / "sources").mkdir()
    (checkout / "sources" / "sample").touch()
    for folder, columns in (
        ("raw/sample", "id,status,group,pair"),
        ("clean", "id,status,dhash,same_as"),
        ("crops", "id,status,picture"),
        ("masks", "id,status,kind"),
    ):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "manifest.csv").write_text(f"{columns}\n")
    names = ("sources", "raw", "clean", "crops", "masks", "split", "leakage")
    ran = run_stage("split", *names, cwd=checkout, preexec_fn=lambda: setrlimit(RLIMIT_FSIZE, (1, 1)))
    assert (ran.returncode, ran.stderr) == (1, f"portraitist: split: {checkout}/leakage: File too large\n")
    assert not (checkout / "leakage").exists()


@pytest.mark.parametrize(
    ("used", "collected", "found"),
    [
        ([], ["met"], "sources has no source; set `sources` in params.yaml, and run `dvc repro sources`"),
        (
            ["met", "sample"],
            ["met"],
            "raw has no manifest of source sample; found: met; run `dvc repro collect@sample`",
        ),
        (["sample"], [], "raw has no manifest of source sample; found: none; run `dvc repro collect@sample`"),
    ],
    ids=["no source", "one missing", "nothing collected"],
)
def test_source_that_was_not_collected_is_named(tmp_path, used, collected, found):
    (tmp_path / "sources").mkdir()
    for name in used:
        (tmp_path / "sources" / name).touch()
    for name in collected:
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "manifest.csv").touch()
    with pytest.raises(SystemExit) as raised:
        check_sources_or_exit(tmp_path / "sources", tmp_path / "raw")
    assert found in str(raised.value)
    assert "\n" not in str(raised.value)


def test_stages_that_read_sources_check_them():
    reading = [path.stem for path in SCRIPTS if '"raw"' in path.read_text()]
    assert reading == ["clean", "split"]
    assert [name for name in reading if "check_sources_or_exit" not in called_functions(name)] == []


def test_every_stage_reads_its_options_from_path_options():
    """`path_options` installs the hook that prints errors in one line."""
    assert [path.stem for path in SCRIPTS if "path_options" not in called_functions(path.stem)] == []


@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "Ctrl-C")])
def test_signal_ends_a_stage_with_one_line_after_cleaning_up(number, name, tmp_path):
    code = """
import signal, time
from pathlib import Path
from pipeline.stage import path_options
from portraitist.core.files import atomic_write
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
path_options()
with atomic_write(Path("out")) as partial:
    partial.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        try:
            error = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert process.returncode != 0
    assert error == f"portraitist: -c: {STOPPED.format(name)}\n"
    assert [path.name for path in tmp_path.iterdir()] == [".locks"]


def test_ctrl_c_during_imports_ends_a_stage_with_one_line(tmp_path):
    code = "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler)"
    (tmp_path / "torch.py").write_text(f"{code}; print('importing', flush=True); time.sleep(60)")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), str(ROOT / "src")])}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline.paint"], cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "importing\n"
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=30)[1]
        finally:
            process.kill()
    assert error == f"portraitist: paint: {STOPPED.format('Ctrl-C')}\n"


STAGE = """if True:
    import sys
    from pipeline.stage import path_options
    path_options("out")
    print("started", flush=True)
    sys.stdin.read()
"""


def start_stage(folder, out, rank="0"):
    """Start a stage that waits until it is killed or its input ends."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "RANK": rank}
    return subprocess.Popen(
        [sys.executable, "-c", STAGE, "--out", out], cwd=folder, env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_same_stage_runs_once_at_a_time_in_a_folder(tmp_path):
    first = start_stage(tmp_path, "data")
    assert first.stdout.readline() == "started\n"
    output, error = start_stage(tmp_path, "data").communicate("")
    assert output == ""
    assert "another process runs this stage with the same paths" in error
    (tmp_path / "other").mkdir()
    others = [(tmp_path, "data/2"), (tmp_path / "other", "data"), (tmp_path, "data", "1")]
    for other in others:
        assert start_stage(*other).communicate("") == ("started\n", "")
    first.kill()
    first.communicate()
    assert start_stage(tmp_path, "data").communicate("") == ("started\n", "")
