"""The commands of docs/experiments-howto.md, run in a scratch clone with the tiny profile."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from scratch_clone import ROOT, ScratchClone, tiny_profile

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("repro")]

PAGE = ROOT / "docs" / "experiments-howto.md"
PICTURES = {"selfies": 60, "portraits": 40}
DECORATION = re.compile(r"[\s─━│┃┏┓┗┛┡┩├└┴┳╇]+")
VARIES = re.compile(r"\b(?=\w*\d)[0-9a-f]{7,40}\b|-?\d+(?:\.\d+)?(?: [AP]M)?")  # hashes, numbers, times


def page_commands() -> list[tuple[str, list[str]]]:
    """Return each command of the page with the lines of output that the page shows, `...` left out."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    parts = [part.splitlines() for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [(command, [line for line in output if line.strip(" .")]) for command, *output in parts]


def comparable(line: str) -> str:
    """Return a line without what differs between runs and terminals: numbers, hashes, spaces and table borders."""
    return VARIES.sub("N", DECORATION.sub(" ", line)).strip()


def make_project(folder: Path, pretrained: Path) -> ScratchClone:
    """Create a clone with the committed dvc.lock of the sample, and `pictures` beside it."""
    for kind, count in PICTURES.items():
        (folder / "pictures" / kind).mkdir(parents=True)
        for path in sorted((ROOT / "data" / "sample" / kind).glob("*.jpg"))[:count]:
            shutil.copy(path, folder / "pictures" / kind)
    methods = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["methods"]
    clone = ScratchClone(folder / "portraitist", tuple(methods))
    (clone.folder / "profiles" / "local.yaml").write_text(yaml.safe_dump(tiny_profile()))
    shutil.copytree(pretrained, clone.folder / "models" / "pretrained")  # else stage `weights` downloads them
    clone.check("dvc", "commit", "--force", "weights")
    clone.git("branch", "--move", "main")
    clone.commit("lock")
    return clone


def test_howto_commands_print_what_the_page_shows(tmp_path: Path, pretrained: Path) -> None:
    clone = make_project(tmp_path / "my", pretrained)
    for command, shown in page_commands():
        words = shlex.split(command.replace("/my/", f"{tmp_path}/my/"))
        if words[0] == "cd":
            clone.folder = (clone.folder / words[1]).resolve()
            shutil.rmtree(tmp_path / "my" / "pictures")  # a second machine does not have them
            continue
        if words[0] == "make":
            words[1:1] = ["--old-file", ".venv/ready"]  # in the environment of the tests
        if words[0] == "git":
            words[1:1] = ["-c", "user.name=t", "-c", "user.email=t@t"]
        ran = clone.run(*words)
        output = (ran.stdout + ran.stderr).replace(f"{tmp_path}/my/", "/my/")
        assert (ran.returncode != 0) == any(line.startswith("ERROR:") for line in shown), f"{command}\n{output}"
        found = {comparable(line) for line in output.splitlines()}
        missing = [line for line in shown if comparable(line) not in found]
        assert not missing, f"{command}\n{missing}\n{output}"
        if command.startswith("dvc repro"):
            assert "Running stage" not in output  # a second clone has nothing to run


def test_howto_has_every_step_of_an_experiment() -> None:
    commands = [command for command, _ in page_commands()]
    assert 18 <= len(commands) <= 30
    steps = ("exp run", "exp run --queue", "exp show|make experiments", "metrics diff", "params diff", "plots diff")
    for step in (*steps, "exp apply", "git commit", "dvc push", "git clone", "make pull", "dvc repro"):
        assert any(re.search(step, command) for command in commands), step
