"""The whole pipeline, by the commands of the README, in scratch clones: small pictures, few steps, every stage."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TINY = {
    "collect": {"sample": {"limit": 20, "shard_size": 8}, "folder": {"limit": 0, "shard_size": 8}},
    "clean": {"shard_size": 8},
    "crop": {"size_px": 32, "workers": 1, "shard_size": 8},
    "mask": {"workers": 2, "shard_size": 8},
    "augment": {"per_person": 2, "rooms": 4, "shard_size": 8},
    "generator": {"width": 4, "blocks": 1},
    "train_generator": {"epochs": 1, "batch": 2, "loader_workers": 0, "threads": 1},
    "train_mask": {"epochs": 1, "batch": 2, "width": 4, "loader_workers": 0, "threads": 1},
    "train": {"epochs": 1, "batch": 2, "loader_workers": 0, "threads": 1},
    "evaluate": {"bootstrap": 10, "sheet_rows": 2},
}
METHODS = ("cartoongan", "masked_cartoongan")
pytestmark = pytest.mark.slow


class Clone:
    """A copy of the working tree under git, with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout.split("\0")  # fmt: skip
        for name in filter(None, files):
            if (ROOT / name).exists() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        (folder / "profiles" / "sample.yaml").write_text(yaml.safe_dump(TINY))
        self.git("init", "--quiet")
        self.commit("as it is")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        own = {"PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(self.folder.parent / "site")}
        env = os.environ | own | {"COLUMNS": "200"}
        return subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)

    def done(self, *command: str) -> str:
        ran = self.run(*command)
        assert ran.returncode == 0, f"{command}\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}"
        return ran.stdout

    def git(self, *words: str) -> str:
        return self.done("git", "-c", "user.name=t", "-c", "user.email=t@t", *words)

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def outs(self) -> dict[str, list[tuple[str, str]]]:
        lock = yaml.safe_load((self.folder / "dvc.lock").read_text())
        return {name: [(out["path"], out["md5"]) for out in stage["outs"]] for name, stage in lock["stages"].items()}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = Clone(tmp_path_factory.mktemp("clone") / "here")
    made.done("dvc", "repro")
    made.commit("first run")
    return made


def consoles() -> list[tuple[str, str]]:
    """The README's console commands, each with what it shows."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return [(found[1], found[2]) for block in blocks if (found := re.match(r"\$ (.*?)\n(.*)", block, re.DOTALL))]


def test_a_second_run_changes_nothing(clone: Clone) -> None:
    assert "up to date" in clone.done("dvc", "repro")
    assert clone.git("status", "--porcelain") == ""


def test_the_run_leaves_a_table_a_sheet_and_a_model(clone: Clone) -> None:
    table = (clone.folder / "metrics" / "compare.md").read_text()
    assert set(METHODS) <= set(re.findall(r"\w+", table.splitlines()[0]))
    with Image.open(clone.folder / "metrics" / "sheet.jpg") as sheet:
        assert sheet.width > 4 * 128
    assert (clone.folder / "models" / "portraitist.onnx").stat().st_size > 10_000


def test_two_clones_make_the_same_bytes(clone: Clone, tmp_path: Path) -> None:
    other = Clone(tmp_path / "there")
    shutil.copytree(clone.folder / "models" / "pretrained", other.folder / "models" / "pretrained")
    other.done("dvc", "commit", "--force", "weights")
    other.done("dvc", "repro")
    assert other.outs() == clone.outs()


def test_the_plots_open_offline(clone: Clone) -> None:
    clone.done("dvc", "plots", "show", "--out", "page")
    page = (clone.folder / "page" / "index.html").read_text()
    assert "vegaEmbed" in page
    assert not re.search(r"<(script|link)[^>]+(src|href)=[\"']https?:", page)
    shutil.rmtree(clone.folder / "page")


def test_the_avatar_of_the_readme(clone: Clone) -> None:
    command = re.search(r"^\.venv/bin/(portraitist paint .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert command
    clone.done(sys.executable, "-c", "from portraitist.cli import main; main()", *command[1].split()[1:])
    with Image.open(clone.folder / "avatar.png") as avatar:
        assert avatar.mode == "RGBA"
        assert avatar.getchannel("A").getextrema() == (0, 255)


def test_the_readmes_commands_say_what_it_shows(clone: Clone) -> None:
    commands = consoles()
    assert [words.split()[:3] for words, _ in commands] == [
        ["dvc", "repro"], ["dvc", "exp", "run"], ["dvc", "metrics", "diff"], ["dvc", "exp", "run"]
    ]  # fmt: skip
    ran = {words: clone.run(*words.split()) for words, _ in commands}
    first, change, diff, wrong = (ran[words] for words, _ in commands)
    assert set(commands[0][1].split("\n")) - {"...", ""} <= set(first.stdout.split("\n"))

    again = set(re.findall(r"Running stage '(.*?)'", change.stdout))
    assert change.returncode == 0
    each = {f"{stage}@{name}" for stage in ("train", "paint", "evaluate") for name in METHODS}
    assert again == each | {"compare", "export"}

    rows = re.findall(r"^(?:metrics/summary.json +)?(\w+\.\w+)", diff.stdout, re.MULTILINE)
    assert "background_repainted.cartoongan" in rows

    assert wrong.returncode != 0
    message = commands[3][1].strip().splitlines()[0]
    assert message in wrong.stderr + wrong.stdout
