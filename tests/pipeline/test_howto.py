"""The commands of docs/experiments-howto.md, run in a scratch clone with the tiny profile."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from console_page import page_commands, run_page
from scratch_clone import ROOT, ScratchClone, tiny_profile

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("repro")]

PAGE = ROOT / "docs" / "experiments-howto.md"
PICTURES = {"selfies": 60, "portraits": 40}


def make_project(folder: Path, pretrained: Path) -> ScratchClone:
    """Create a clone with the committed dvc.lock of the sample, and `pictures` beside it."""
    for kind, count in PICTURES.items():
        (folder / "pictures" / kind).mkdir(parents=True)
        for path in sorted((ROOT / "data" / "sample" / kind).glob("*.jpg"))[:count]:
            shutil.copy(path, folder / "pictures" / kind)
    methods = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["methods"]
    clone = ScratchClone(folder / "portraitist", tuple(methods))
    (clone.folder / "profiles" / "local.yaml").write_text(yaml.safe_dump(tiny_profile()))
    # otherwise, stage `weights` would download them
    shutil.copytree(pretrained, clone.folder / "models" / "pretrained")
    clone.check("dvc", "commit", "--force", "weights")
    clone.git("branch", "--move", "main")
    clone.commit("lock")
    return clone


def test_howto_commands_print_what_the_page_shows(tmp_path: Path, pretrained: Path) -> None:
    clone = make_project(tmp_path / "my", pretrained)
    for command, output in run_page(clone, PAGE, {"/my/": f"{tmp_path}/my/"}):
        if command.startswith("cd"):
            shutil.rmtree(tmp_path / "my" / "pictures")  # a second machine does not have them
        if command.startswith("dvc repro"):
            assert "Running stage" not in output  # a second clone has nothing to run


def test_howto_has_every_step_of_an_experiment() -> None:
    commands = [command for command, _ in page_commands(PAGE)]
    assert 18 <= len(commands) <= 30
    steps = ("exp run", "exp run --queue", "exp show|make experiments", "metrics diff", "params diff", "plots diff")
    for step in (*steps, "exp apply", "git commit", "dvc push", "git clone", "make pull", "dvc repro"):
        assert any(re.search(step, command) for command in commands), step
