"""Typical mistakes at the command line: exit code and the value that the message names, as in docs/cli.md."""

import re
import shlex

import pytest
from PIL import Image
from toys import ROOT
from typer.testing import CliRunner

from portraitist.cli import app

MISTAKES = [  # command, exit code, text that the message contains
    ("portraitist pain me.jpg", 2, "pain"),
    ("portraitist paint", 2, "SELFIE"),
    ("portraitist paint me.jpg --sise 256", 2, "--sise"),
    ("portraitist paint you.jpg", 1, "you.jpg"),
    ("portraitist paint notes.txt", 1, "notes.txt"),
    ("portraitist paint wall.jpg", 1, "wall.jpg"),
    ("portraitist paint holiday/", 2, "holiday"),
    ("portraitist paint https://example.org/me.jpg", 2, "https://example.org/me.jpg"),
    ("portraitist paint me.jpg -o me.jpg", 2, "me.jpg"),
    ("portraitist paint me.jpg -o taken.png", 2, "taken.png"),
    ("portraitist paint me.jpg wall.jpg -o both.png", 2, "both.png"),
    ("portraitist paint me.jpg -o me.bmp", 2, "'.bmp'"),
    ("portraitist paint clip.mp4 -o clip.png", 2, "'.png'"),
    ("portraitist paint me.jpg -o a.jpg --background transparent", 2, "JPEG"),
    ("portraitist paint me.jpg wall.jpg -o -", 2, "2 selfies"),
    ("portraitist paint me.jpg --background beach.jpg", 2, "background beach.jpg: No such file or directory"),
    ("portraitist paint me.jpg --background rot", 2, "'rot'"),
    ("portraitist paint me.jpg --shape round", 2, "round"),
    ("portraitist paint me.jpg --size 5000", 2, "5000"),
    ("portraitist paint me.jpg --strength 2", 2, "2"),
    ("portraitist paint me.jpg --style hause", 2, "'hause'"),
    ("portraitist paint me.jpg --like notes.txt", 2, "notes.txt"),
    ("portraitist paint me.jpg --paste-back --size 99", 2, "--size"),
    ("portraitist paint me.jpg --model none.onnx", 2, "none.onnx"),
    ("portraitist paint me.jpg --model notes.txt", 2, "notes.txt"),
    ("portraitist paint me.jpg --model hf://portraits", 2, "hf://portraits"),
    ("portraitist serve --port 99999", 2, "--port"),
    ("portraitist compare data/paint/cartoongan", 2, "data/paint/cartoongan"),
    ("portraitist dataset unpack data/crop -o crops", 2, "data/crop"),
    ("portraitist dataset forget", 2, "--marks"),
]


@pytest.fixture
def folder(sample, tmp_path, monkeypatch):
    """A folder with the files that the commands name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me.jpg").write_bytes((sample / "selfies" / "0006.jpg").read_bytes())
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    (tmp_path / "taken.png").touch()
    (tmp_path / "clip.mp4").touch()
    Image.new("RGB", (80, 64), (90, 90, 90)).save(tmp_path / "wall.jpg")
    (tmp_path / "holiday" / "first-day").mkdir(parents=True)
    (tmp_path / "holiday" / "first-day" / "me.jpg").write_bytes((tmp_path / "me.jpg").read_bytes())
    return tmp_path


def run(command, model):
    arguments = shlex.split(command)[1:]
    if arguments[0] == "paint" and "--model" not in arguments:
        arguments += ["--model", str(model)]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(("command", "code", "named"), MISTAKES, ids=[mistake[0] for mistake in MISTAKES])
def test_mistake_is_named(model, folder, command, code, named):
    before = sorted(folder.rglob("*"))
    result = run(command, model)
    assert isinstance(result.exception, SystemExit)
    assert (result.exit_code, result.stdout) == (code, "")
    assert named in result.stderr
    assert sorted(folder.rglob("*")) == before


def test_documented_mistakes_are_the_tested_ones():
    rows = re.findall(
        r"^\| `(portraitist[^`]*)` \| .* \| (\d) \|$", (ROOT / "docs" / "cli.md").read_text("utf-8"), re.M
    )
    assert rows == [(command, str(code)) for command, code, _ in MISTAKES]
