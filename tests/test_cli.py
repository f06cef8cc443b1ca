import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import packages_distributions
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from app_helpers import replaced_graph, touching_people, with_example_generator
from onnx import TensorProto, helper
from PIL import Image, PngImagePlugin
from toys import ROOT
from typer.testing import CliRunner

from portraitist import __version__
from portraitist.app import compositing, paint_files, trial_run
from portraitist.app.avatar import Portraitist
from portraitist.app.paint_files import PaintResult, expand_paths, paint_batch, plan_outputs
from portraitist.app.styles import StyleOptions
from portraitist.cli import app, painting
from portraitist.cli.extras import MODULES
from portraitist.collect.response_store import SourceResponses, source_names
from portraitist.core.params import load
from portraitist.core.shards import Shards, ShardWriter
from portraitist.crop.params import CropParams

SIDE = load(CropParams, "crop", ROOT).size_px


@pytest.fixture(scope="module")
def selfies(sample):
    return sorted((sample / "selfies").iterdir())[:2]


def run(*arguments):
    """Run the command line and return exit code, stdout and stderr; there must be no traceback."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def paint(model, *arguments):
    """Run `portraitist paint`, by default at the model's own size, on a transparent background."""
    defaults = {"--size": SIDE, "--background": "transparent"}
    if "--paste-back" not in arguments:
        arguments += tuple(each for pair in defaults.items() if pair[0] not in arguments for each in pair)
    return run("paint", *arguments, "--model", model)


@pytest.fixture(scope="module")
def selfie_bytes(selfies):
    return selfies[0].read_bytes()


def pipe(data, *arguments):
    """Run the command line with bytes on standard input, and return exit code, stdout as bytes, and stderr."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=data)
    return result.exit_code, result.stdout_bytes, result.stderr


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.fixture(scope="module")
def painted(model, selfies, tmp_path_factory):
    """One selfie, painted with default options."""
    path = tmp_path_factory.mktemp("one") / "avatar.png"
    assert paint(model, selfies[0], "-o", path) == (0, f"{path}\n", "")
    return path


def test_default_avatar_is_a_transparent_png(painted):
    with Image.open(painted) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (SIDE, SIDE))
    alpha = pixels(painted)[..., 3]
    assert (alpha == 255).any()
    assert (alpha == 0).any()
    assert [path.name for path in painted.parent.iterdir()] == ["avatar.png"]


def test_avatars_in_a_folder_are_named_after_the_selfies(model, selfies, painted, tmp_path):
    code, stdout, _ = paint(model, *selfies, "-o", tmp_path / "new")
    outputs = [tmp_path / "new" / f"{path.stem}.png" for path in selfies]
    assert code == 0
    assert stdout.split() == [str(output) for output in outputs]
    assert np.array_equal(pixels(outputs[0]), pixels(painted))
    assert not np.array_equal(pixels(outputs[1]), pixels(painted))


def test_one_selfie_goes_into_an_existing_folder(model, selfies, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path)[0] == 0
    assert (tmp_path / f"{selfies[0].stem}.png").exists()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.heic", "a.png"),
        ("a.mov.jpg", "a.mov.png"),
        ("my.webm.old.PNG", "my.webm.old.png"),
        ("a.MOV", "a.mp4"),
        ("a.b.webm", "a.b.mp4"),
        ("a.mp4", "a.mp4"),
        ("a.mkv", "a.mp4"),
        ("a.3GP", "a.mp4"),
        ("a.Gif", "a.gif"),
    ],
)
def test_output_names_replace_the_last_suffix(tmp_path, name, expected):
    assert plan_outputs([Path("in") / name], tmp_path, may_exist=False) == [tmp_path / expected]


def test_background_colour_surrounds_the_person(model, selfies, painted, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--background", "#0aC81e")[0] == 0
    alpha = pixels(painted)[..., 3]
    found = pixels(tmp_path / "a.png")
    assert found.shape == (SIDE, SIDE, 3)
    assert (found[alpha == 0] == (10, 200, 30)).all()
    assert not (found[alpha > 16] == (10, 200, 30)).all(axis=-1).any()  # below, rounding may give the colour itself


def test_keep_leaves_the_selfies_background(model, selfies, painted, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--background", "keep")[0] == 0
    outside = pixels(painted)[..., 3] == 0
    assert len(np.unique(pixels(tmp_path / "a.png")[outside], axis=0)) > 20


def test_missing_background_is_named(model, selfies, tmp_path):
    code, _, stderr = paint(model, selfies[0], "--background", "beach.jpg", "-o", tmp_path / "a.png")
    assert (code, stderr) == (2, "portraitist: background beach.jpg: No such file or directory\n")


@pytest.mark.parametrize("arguments", [[""], ["me.jpg", "-o", ""], ["me.jpg", "--like", ""], ["me.jpg", "--model", ""]])
def test_empty_argument_is_rejected(tmp_path, arguments):
    command = [sys.executable, "-m", "portraitist", "paint", *arguments]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    expected = "portraitist: an argument is empty; leave it out, or give it a value\n"
    assert (process.returncode, process.stdout, process.stderr) == (2, "", expected)


@pytest.mark.parametrize(
    ("arguments", "closed", "code", "message"),
    [
        ("paint -", "<&-", 1, "standard input is closed"),
        ("paint me.jpg -o -", ">&-", 2, "standard output is closed; name a file with -o"),
        ("paint nothing.jpg -o a.png", "2>&-", 1, ""),
        ("styles", ">/dev/full", 1, "standard output: No space left on device"),
    ],
)
def test_closed_and_full_streams_end_with_one_line(model, selfies, tmp_path, arguments, closed, code, message):
    shutil.copy(selfies[0], tmp_path / "me.jpg")
    command = f"{sys.executable} -m portraitist {arguments} --model {model} {closed}"
    process = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == code
    assert message in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize("background", ["#12345", "rot", "#gggggg", "#1234567", ""])
def test_invalid_background_is_rejected(model, selfies, tmp_path, background):
    code, _, stderr = paint(model, selfies[0], "-o", tmp_path / "a.png", "--background", background)
    assert code == 2
    assert stderr.startswith(f"portraitist: background is {background!r}; allowed are backdrop, transparent, keep,")
    assert not (tmp_path / "a.png").exists()


def test_size_is_the_side_in_pixels(model, selfies, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--size", 40)[0] == 0
    assert pixels(tmp_path / "a.png").shape == (40, 40, 4)
    assert paint(model, selfies[0], "-o", tmp_path / "b.png", "--size", 15)[0] == 2


def test_existing_file_is_kept_unless_forced(model, selfies, tmp_path):
    output = tmp_path / "a.png"
    output.write_bytes(b"mine")
    code, _, stderr = paint(model, selfies[0], "-o", output)
    assert (code, stderr) == (2, f"portraitist: {output} exists; --force overwrites it\n")
    assert output.read_bytes() == b"mine"
    assert paint(model, selfies[0], "-o", output, "--force")[0] == 0
    assert pixels(output).shape == (SIDE, SIDE, 4)


def test_bad_files_are_named_and_the_others_painted(model, selfies, tmp_path):
    bad, empty = tmp_path / "bad.jpg", tmp_path / "grey.png"
    bad.write_text("no picture", encoding="utf-8")
    Image.new("RGB", (80, 64), (90, 90, 90)).save(empty)
    code, stdout, stderr = paint(model, bad, selfies[0], empty, tmp_path / "none.jpg", "-o", tmp_path / "out")
    lines = stderr.splitlines()
    assert code == 1
    assert stdout == f"{tmp_path / 'out' / selfies[0].stem}.png\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{selfies[0].stem}.png"]
    assert re.fullmatch(rf"portraitist: {bad}: not a picture.*", lines[0])
    assert lines[1].startswith(f"portraitist: {empty}: no face")
    assert lines[2] == f"portraitist: {tmp_path / 'none.jpg'}: No such file or directory"
    assert lines[3:] == ["portraitist: 3 of 4 selfies were painted only in part or not at all; see the messages above"]


def test_selfies_of_one_name_are_rejected(model, selfies, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(selfies[0], tmp_path / folder / "me.jpg")
    code, _, stderr = paint(model, tmp_path / "a" / "me.jpg", tmp_path / "b" / "me.jpg", "-o", tmp_path / "out")
    both, output = f"{tmp_path / 'a' / 'me.jpg'} and {tmp_path / 'b' / 'me.jpg'}", tmp_path / "out" / "me.jpg.png"
    message = f"{both} would have the same output {output}; paint them in separate runs"
    assert (code, stderr) == (2, f"portraitist: {message}\n")


def test_ambiguous_names_keep_the_selfies_suffix(tmp_path):
    selfies = [Path("in") / name for name in ("IMG_1.heic", "IMG_1.JPG", "IMG_1.mov", "IMG_2.jpg")]
    names = [path.name for path in plan_outputs(selfies, tmp_path, may_exist=False)]
    assert names == ["IMG_1.heic.png", "IMG_1.JPG.png", "IMG_1.mp4", "IMG_2.png"]
    (tmp_path / "a.jpg").touch()
    assert expand_paths([tmp_path / "a.jpg", tmp_path, tmp_path / "*.jpg"]).selfies == [tmp_path / "a.jpg"]


def test_selfies_are_never_overwritten(model, selfies, two, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(two, folder / "us-2.png")
    (tmp_path / "link.png").hardlink_to(folder / "us-2.png")
    for output in (folder, folder / "us-2.png", tmp_path / "link.png"):
        code, _, stderr = paint(model, folder, "-o", output, "--force")
        assert (code, stderr.count("\n")) == (2, 1)
        assert re.match(r"portraitist: .*(us-2|link)\.png is one of the selfies", stderr)
    assert (
        paint(model, folder / "us-2.png", "-o", folder / "us.png", "--force")[0] == 0
    )  # number 2 is taken by the selfie
    assert sorted(path.name for path in folder.iterdir()) == ["us-2.png", "us-3.png", "us.png"]
    assert (folder / "us-2.png").read_bytes() == two.read_bytes()
    mixed = tmp_path / "own"
    mixed.mkdir()
    shutil.copy(selfies[0], mixed / "a.jpg")
    assert paint(model, mixed, "-o", mixed)[0] == 0
    code, _, stderr = paint(model, mixed, "-o", mixed)  # the avatar counts as a selfie now
    assert (code, f"{mixed / 'a.png'} is one of the selfies" in stderr) == (2, True)


def test_rerun_skips_existing_avatars(model, selfies, tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    shutil.copy(selfies[0], folder / "a.jpg")
    assert paint(model, folder, "-o", out)[0] == 0
    (out / "a.png").write_bytes(b"mine")
    assert paint(model, folder, "-o", out) == (
        0,
        "",
        "portraitist: skipped 1 with an existing avatar; --force overwrites existing avatars\n",
    )
    shutil.copy(selfies[1], folder / "b.jpg")
    code, stdout, stderr = paint(model, folder, "-o", out)
    assert (code, stdout, stderr.count("skipped 1 with an existing avatar")) == (0, f"{out / 'b.png'}\n", 1)
    assert (out / "a.png").read_bytes() == b"mine"
    assert paint(model, folder / "a.jpg", "-o", out)[0] == 2
    assert paint(model, folder, "-o", out, "--force")[2] == ""
    assert (out / "a.png").read_bytes() != b"mine"


def test_trailing_slash_marks_a_folder(model, selfies, tmp_path):
    code, _, stderr = paint(model, *selfies, "-o", tmp_path / "two.png")
    assert (code, stderr) == (
        2,
        f"portraitist: {tmp_path / 'two.png'} is one file for 2 selfies; for a folder, append a slash: "
        f"-o {tmp_path / 'two.png'}/\n",
    )
    assert plan_outputs([Path("a.jpg")], f"{tmp_path}/v1.2/", may_exist=False) == [tmp_path / "v1.2" / "a.png"]
    assert (
        plan_outputs([Path("a.jpg"), Path("b.jpg")], tmp_path / "v1.2", may_exist=False)[1]
        == tmp_path / "v1.2" / "b.png"
    )
    assert paint(model, selfies[0], "-o", f"{tmp_path}/v1.2/")[0] == 0
    assert (tmp_path / "v1.2" / f"{selfies[0].stem}.png").exists()


def test_picture_passes_through_standard_streams(model, selfies, selfie_bytes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paint(model, selfies[0], "-o", "a.png")[0] == 0
    avatar = Path("a.png").read_bytes()
    options = ["--size", SIDE, "--background", "transparent", "--model", model]
    assert pipe(selfie_bytes, "paint", "-", "-o", "-", *options) == (0, avatar, "")
    assert pipe(selfie_bytes, "paint", "-", *options) == (0, avatar, "")
    assert pipe(b"", "paint", selfies[0], "-o", "-", *options) == (0, avatar, "")
    assert pipe(selfie_bytes, "paint", "-", "-o", "out/", *options)[0] == 0
    assert Path("out/selfie.png").read_bytes() == avatar
    code, stdout, stderr = pipe(b"no picture", "paint", "-", *options)
    assert (code, stdout, "portraitist: -: not a picture" in stderr) == (1, b"", True)


def test_standard_streams_take_one_picture(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    for arguments in (
        [*selfies, "-o", "-"],
        ["-", selfies[0]],
        ["a.mp4", "-o", "-"],
        [selfies[0], "-o", "-", "--json"],
    ):
        code, stdout, stderr = paint(model, *arguments)
        assert (code, stdout, stderr.count("\n")) == (2, "", 1), arguments


def test_default_name_is_in_the_current_folder(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    shutil.copy(selfies[0], tmp_path / "in" / "me.heic.jpg")
    assert paint(model, "in/me.heic.jpg") == (0, "me.heic-avatar.png\n", "")
    assert paint(model, "in/me.heic.jpg")[0] == 2  # it exists
    shutil.copy("me.heic-avatar.png", "in/me-avatar-2.png")
    assert expand_paths([Path("in")]).selfies == [Path("in/me.heic.jpg")]  # avatars of earlier runs are no selfies
    assert expand_paths([Path("in/*.*g")]).selfies == [Path("in/me.heic.jpg")]
    assert expand_paths([Path("in/me-avatar-2.png")]).selfies == [Path("in/me-avatar-2.png")]


def test_recursive_run_keeps_the_folders(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number, folder in enumerate(("in/a", "in/b/c", "in/.hidden", "in/out")):
        Path(folder).mkdir(parents=True)
        shutil.copy(selfies[number % 2], Path(folder) / "me.jpg")
    code, stdout, _ = paint(model, "in", "-r", "-o", "in/out/")
    assert (code, stdout.split()) == (0, ["in/out/a/me.png", "in/out/b/c/me.png"])
    code, _, stderr = paint(model, "in", "-r", "-o", "in/out/")
    assert (code, "skipped 2 with an existing avatar" in stderr) == (0, True)
    inputs = expand_paths([Path("in")], recursive=True)
    assert plan_outputs(inputs.selfies, None, False, inputs.subfolders)[0] == Path("a/me-avatar.png")


@pytest.mark.parametrize("method", ["scandir", "stat"])  # a folder that cannot be listed, or only listed
def test_unreadable_subfolder_is_named_and_the_others_painted(model, selfies, tmp_path, monkeypatch, method):
    for folder in ("in/open", "in/locked"):
        (tmp_path / folder).mkdir(parents=True)
        shutil.copy(selfies[0], tmp_path / folder / "me.jpg")
    original = getattr(os, method)

    def refuse(path=".", **keywords):
        if "locked" in str(path) and (method == "scandir" or str(path).endswith("me.jpg")):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path, **keywords)

    monkeypatch.setattr(os, method, refuse)
    code, stdout, stderr = paint(model, tmp_path / "in", "-r", "-o", tmp_path / "out", "-q", "--json")
    assert (code, json.loads(stdout)["outputs"]) == (1, [str(tmp_path / "out" / "open" / "me.png")])
    assert f"skipped {tmp_path / 'in' / 'locked'}: Permission denied" in stderr
    shutil.rmtree(tmp_path / "in" / "open")
    code, _, stderr = paint(model, tmp_path / "in", "-r", "-o", tmp_path / "other")
    assert code == 2
    assert f"no pictures found; {tmp_path / 'in' / 'locked'} cannot be read: Permission denied" in stderr


def test_linked_folders_are_not_searched_but_named(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("in", "elsewhere"):
        Path(folder).mkdir()
        shutil.copy(selfies[0], Path(folder) / "me.jpg")
    Path("in/link").symlink_to("../elsewhere")
    code, stdout, stderr = paint(model, "in", "-r", "-o", "out")
    assert (code, stdout) == (0, "out/me.png\n")
    assert stderr == "portraitist: skipped 1 inputs that are not pictures: in/link/\n"
    Path("in/me.jpg").unlink()
    assert "; supported are" in paint(model, "in", "-o", "out")[2]  # no advice to use -r, which would find nothing


@pytest.mark.parametrize("name", ["link/", "link/me.png", "link.png", "file/below/"])
def test_output_that_cannot_be_created_is_an_error(model, selfies, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    for link in ("link", "link.png"):
        Path(link).symlink_to("missing/folder")
    code, stdout, stderr = paint(model, selfies[0], "-o", name)
    assert code in (1, 2)
    assert stdout == ""
    assert re.search(r"link: File exists|link\.png exists|not a folder", stderr)


def test_blocked_subfolder_is_an_error_and_the_others_are_painted(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("in/a", "in/b", "out"):
        Path(folder).mkdir(parents=True)
        if folder != "out":
            shutil.copy(selfies[0], Path(folder) / "me.jpg")
    Path("out/b").touch()
    code, stdout, stderr = paint(model, "in", "-r", "-o", "out")
    assert (code, stdout) == (1, "out/a/me.png\n")
    assert "cannot write out/b: File exists" in stderr


def test_too_long_name_does_not_end_a_batch(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{'a' * 251}.jpg", "b.jpg"]
    for name in names:
        shutil.copy(selfies[0], name)
    code, stdout, stderr = paint(model, *names)
    assert (code, stdout) == (1, "b-avatar.png\n")
    assert "File name too long" in stderr


def test_recursive_run_skips_an_output_file_in_the_folder(selfies, tmp_path):
    for name in ("me.jpg", "out.jpg"):
        shutil.copy(selfies[0], tmp_path / name)
    assert expand_paths([tmp_path], recursive=True, out=tmp_path / "out.jpg").selfies == [tmp_path / "me.jpg"]


def test_interrupted_batch_states_how_many_selfies_are_done(model, selfies, tmp_path, monkeypatch):
    shutil.copy(selfies[0], tmp_path / "third.jpg")

    def interrupted(*arguments, **keywords):
        yield from islice(paint_batch(*arguments, **keywords), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(paint_files, "paint_batch", interrupted)
    code, _, stderr = paint(model, *selfies, tmp_path / "third.jpg", "-o", tmp_path / "out", "-q")
    assert code == 130
    assert stderr.startswith("portraitist: interrupted after 1 of 3 selfies; to continue, repeat the command\n")


def test_json_has_one_object_per_selfie(model, selfies, two, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture", encoding="utf-8")
    code, stdout, _ = paint(model, selfies[0], two, bad, "-o", tmp_path / "out", "--json")
    first, both, failed = (json.loads(line) for line in stdout.splitlines())
    assert code == 1
    assert list(first) == ["selfie", "status", "outputs", "errors", "painted_px", "seconds"]
    assert first.pop("seconds") > 0
    assert first == {
        "selfie": str(selfies[0]),
        "status": "painted",
        "outputs": [str(tmp_path / "out" / f"{selfies[0].stem}.png")],
        "errors": [],
        "painted_px": SIDE,
    }
    assert [Path(path).name for path in both["outputs"]] == ["us.png", "us-2.png"]
    assert (failed["status"], failed["outputs"], failed["painted_px"]) == ("failed", [], None)
    assert failed["errors"][0]["reason"] == "not_a_picture"
    again = paint(model, selfies[0], two, "-o", tmp_path / "out", "--json")[1]
    assert [json.loads(line)["status"] for line in again.splitlines()] == ["existed", "existed"]


def test_quiet_prints_errors_only(model, selfies, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("no picture", encoding="utf-8")
    code, stdout, stderr = paint(model, selfies[0], bad, "-o", tmp_path / "out", "--size", 2 * SIDE, "-q")
    assert (code, stdout) == (1, "")
    assert [line.split(":")[1].strip() for line in stderr.splitlines()] == [
        str(bad),
        "1 of 2 selfies were painted only in part or not at all; see the messages above",
    ]


def test_verbose_prints_size_and_time(model, selfies, tmp_path):
    stderr = paint(model, selfies[0], "-o", tmp_path / "a.png", "-v")[2]
    assert re.fullmatch(rf"portraitist: {selfies[0]}: painted.* {SIDE} px, \d+\.\d\d s\n", stderr)


def test_enlarged_avatars_are_reported(model, selfies, tmp_path):
    stderr = paint(model, selfies[0], "-o", tmp_path / "a.png", "--size", 1024)[2]
    painted_px, size_px = map(int, re.findall(r"\d+", stderr)[:2])
    assert painted_px < size_px == 1024
    assert pixels(tmp_path / "a.png").shape[:2] == (1024, 1024)


@pytest.mark.parametrize(("painted_px", "reported"), [(512, False), (497, False), (496, True)])
def test_rounding_is_not_reported_as_enlargement(painted_px, reported, capsys):
    painting._report_total([PaintResult(Path("a.jpg"), painted_px=painted_px)], 512)
    assert (f"painted at {painted_px} px" in capsys.readouterr().err) == reported


def test_defaults_are_512_pixels_on_a_backdrop(model, selfies, tmp_path):
    assert run("paint", selfies[0], "-o", tmp_path / "a.jpg", "--model", model)[0] == 0
    assert pixels(tmp_path / "a.jpg").shape == (512, 512, 3)


def test_styles_are_listed(model):
    assert run("styles", "--model", model) == (0, "house\n", "")


def test_style_options_reach_the_model(model, selfies, tmp_path, monkeypatch):
    given, read_style, paint_crops = [], Portraitist.read_style, Portraitist.paint_crops

    def record_style(self, options):
        given.append(options)
        return read_style(self, StyleOptions())

    def record_crops(self, photo, crops, size_px, align, style):
        given.append((size_px, align))
        return paint_crops(self, photo, crops, size_px, align, style)

    monkeypatch.setattr(Portraitist, "read_style", record_style)
    monkeypatch.setattr(Portraitist, "paint_crops", record_crops)
    options = ["--strength", 0.4, "--keep-colours", "--align", "--size", 96]
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--like", selfies[1], *options)[0] == 0
    options = StyleOptions("house", selfies[1], 0.4, True)
    assert given == [options, options, (96, True)]  # the style is read once before the batch, to detect errors


def test_urls_are_rejected(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, stderr = paint(model, "https://example.org/a.jpg", "-o", "a.png")
    assert (code, stderr.startswith("portraitist: https://example.org/a.jpg: ")) == (2, True)
    assert not list(tmp_path.iterdir())


def test_output_errors_name_the_output(model, selfies, tmp_path, monkeypatch):
    file = tmp_path / "file.png"
    file.write_bytes(b"mine")
    code, _, stderr = paint(model, selfies[0], "-o", file / "x.png")
    assert (code, stderr) == (2, f"portraitist: -o {file / 'x.png'}: {file} is not a folder\n")
    code, _, stderr = paint(model, selfies[0], "-o", f"{file}/")
    assert (code, stderr) == (2, f"portraitist: -o {file}: not a folder\n")

    original = Path.write_bytes

    def write_bytes(self, data):
        if self.parent == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    code, _, stderr = paint(model, selfies[0], "-o", tmp_path / "a.png")
    message = f"{selfies[0]}: cannot write {tmp_path / 'a.png'}: No space left on device"
    assert (code, stderr.splitlines()[0]) == (1, f"portraitist: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["file.png"]


@pytest.mark.parametrize("options", [["--size", 99], ["--shape", "circle"], ["--background", "keep"], ["--align"]])
def test_paste_back_rejects_options_without_effect(model, selfies, tmp_path, options):
    code, _, stderr = paint(model, selfies[0], "-o", tmp_path / "a.png", "--paste-back", *options)
    assert (code, stderr.count("\n")) == (2, 1)
    assert f"--paste-back and {options[0]} exclude each other" in stderr
    (tmp_path / "a.mp4").touch()
    for option in ("--paste-back", "--align"):
        code, _, stderr = paint(model, tmp_path / "a.mp4", "-o", tmp_path / "out", option)
        assert (code, stderr) == (2, f"portraitist: {tmp_path / 'a.mp4'} is a clip; {option} is for pictures only\n")


def test_example_needs_a_model_with_styles(model, selfies, tmp_path):
    code, _, stderr = paint(model, selfies[0], "-o", tmp_path / "a.png", "--like", selfies[1])
    assert (code, stderr.count("\n")) == (2, 1)
    assert "this model has only one style" in stderr
    assert not (tmp_path / "a.png").exists()


def test_unusable_model_is_named(tmp_path, selfies):
    code, _, stderr = paint(tmp_path / "x.onnx", selfies[0], "-o", tmp_path / "a.png")
    assert (code, stderr.count("\n")) == (2, 1)
    assert stderr.startswith(
        f"portraitist: {tmp_path / 'x.onnx'}: no such file; `make repro` creates models/portraitist"
    )
    code, _, stderr = paint(selfies[0], selfies[0], "-o", tmp_path / "a.png")
    reason = f"malformed field at byte 0 of {selfies[0].stat().st_size}; copy or export the model again"
    assert (code, stderr) == (2, f"portraitist: {selfies[0]}: not an exported model, or damaged: {reason}\n")


def test_folders_and_globs_are_expanded(model, selfies, tmp_path):
    folder = tmp_path / "in [1]"
    folder.mkdir()
    for index, selfie in enumerate(selfies):
        shutil.copy(selfie, folder / f"{index}.jpg")
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "._0.jpg").write_text("by macOS", encoding="utf-8")
    (folder / "a.jpg").mkdir()
    assert paint(model, folder, "-o", tmp_path / "a")[0] == 0
    assert paint(model, tmp_path / "in*" / "*.jpg", "-o", tmp_path / "b")[0] == 0
    for name in "ab":
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["0.png", "1.png"]
    code, _, stderr = paint(model, tmp_path / "a" / "*.heic", "-o", tmp_path / "c")
    assert code == 2
    assert re.search(r"\*\.heic: no pictures found; supported are \.jpg", stderr)
    code, _, stderr = paint(model, tmp_path, "-o", tmp_path / "c")
    assert code == 2
    assert re.search(r"no pictures found; .*/(a|b|in \[1\]);", stderr)


@pytest.fixture(scope="module")
def two(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "us.png"
    photo = Image.new("RGB", (512, 256), (120, 140, 130))
    for column, number in enumerate((0, 6)):
        with Image.open(sample / "selfies" / f"{number:04d}.jpg") as opened:
            photo.paste(opened.resize((256 - 60 * (1 - column),) * 2), (256 * column, 0))
    photo.save(path)
    return path


def test_further_faces_get_numbered_files(model, two, tmp_path):
    assert paint(model, two, "-o", tmp_path / "a" / "us.png")[1].split() == [
        str(tmp_path / "a" / "us.png"),
        str(tmp_path / "a" / "us-2.png"),
    ]
    assert paint(model, two, "-o", tmp_path / "b" / "us.png", "--face", "largest")[0] == 0
    assert np.array_equal(pixels(tmp_path / "a" / "us.png"), pixels(tmp_path / "b" / "us.png"))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["us.png"]
    code, _, stderr = paint(model, two, "-o", tmp_path / "c.png", "--face", "all")
    assert (code, "'all'" in stderr) == (2, True)


def test_existing_file_of_a_second_face_is_kept(model, two, tmp_path):
    (tmp_path / "us-2.png").write_bytes(b"mine")
    code, stdout, stderr = paint(model, two, "-o", tmp_path / "us.png")
    assert (code, stdout) == (1, f"{tmp_path / 'us.png'}\n")
    assert f"{tmp_path / 'us-2.png'} exists; --force overwrites it" in stderr
    assert (tmp_path / "us-2.png").read_bytes() == b"mine"
    (tmp_path / "them-2.png").mkdir()
    assert paint(model, two, "-o", tmp_path / "them.png")[:2] == (1, f"{tmp_path / 'them.png'}\n")


def test_interrupted_run_is_completed_by_the_next(model, two, tmp_path, monkeypatch):
    original = paint_files.write_file

    def write_file(path, data, **options):
        if path.name == "us-2.png":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        original(path, data, **options)

    monkeypatch.setattr(paint_files, "write_file", write_file)
    assert paint(model, two, "-o", tmp_path / "out/")[0] == 1
    monkeypatch.undo()
    (tmp_path / "in").mkdir()
    shutil.copy(two, tmp_path / "in" / "us.png")
    for written in (["us.png", "us-2.png"], []):  # the second run completes the first one, the third has nothing to do
        code, stdout, _ = paint(model, tmp_path / "in", "-o", tmp_path / "out")
        assert (code, [Path(line).name for line in stdout.split()]) == (0, written)
    (tmp_path / "out" / "us.png").unlink()
    assert paint(model, tmp_path / "in", "-o", tmp_path / "out")[:2] == (
        0, f"{tmp_path / 'out' / 'us.png'}\n{tmp_path / 'out' / 'us-2.png'}\n"
    )  # fmt: skip


def test_second_face_never_gets_another_selfies_name(model, selfies, two, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(two, tmp_path / "in" / "us.png")
    shutil.copy(selfies[1], tmp_path / "in" / "us-2.jpg")
    painted = {}
    for force in ([], ["--force"]):
        code, stdout, stderr = paint(model, tmp_path / "in", "-o", tmp_path / "out", *force)
        assert (code, stderr) == (0, "")
        assert sorted(stdout.split()) == [str(tmp_path / "out" / f"{name}.png") for name in ("us-2", "us-3", "us")]
        painted[bool(force)] = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert painted[False] == painted[True]
    paint(model, selfies[1], "-o", tmp_path / "alone.png")
    assert painted[False]["us-2.png"] == (tmp_path / "alone.png").read_bytes()


def test_second_face_never_replaces_another_input(model, selfies, two, tmp_path, monkeypatch):
    both, other = tmp_path / "both.png", tmp_path / "both-avatar-2.png"
    shutil.copy(two, both)
    shutil.copy(selfies[0], other)
    monkeypatch.chdir(tmp_path)
    code, stdout, _ = paint(model, both.name, other.name, "--force")
    assert code == 0
    assert "both-avatar-3.png" in stdout
    assert other.read_bytes() == selfies[0].read_bytes()


@pytest.mark.parametrize("option", ["--background", "--like"])
def test_other_inputs_are_never_overwritten(shipped, selfies, tmp_path, option):
    picture = tmp_path / "room.png"
    shutil.copy(selfies[1], picture)
    code, _, stderr = run("paint", selfies[0], option, picture, "-o", picture, "--force", "--model", shipped)
    assert (code, stderr) == (2, f"portraitist: {picture} is an input of this run; choose another output\n")
    assert picture.read_bytes() == selfies[1].read_bytes()


def test_colours_of_transparent_pixels_stay_hidden(model, selfies, tmp_path):
    photo = pixels(selfies[0])
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, : photo.shape[1] // 5] = 0
    results = []
    for colour in ((255, 0, 255), (0, 90, 0)):
        erased, output = tmp_path / "erased.png", tmp_path / "out.png"
        visible = np.where(alpha[..., None] > 0, photo, np.array(colour, np.uint8))
        Image.fromarray(np.dstack([visible, alpha])).save(erased)
        for selfie, *options in (
            (erased, "--paste-back"),
            (erased, "--background", "keep", "--align"),
            (selfies[0], "--background", erased),
        ):
            assert paint(model, selfie, *options, "-o", output, "--force")[0] == 0
            results.append(pixels(output))
    assert all(map(np.array_equal, results[:3], results[3:]))
    assert (results[0][:, 0, :3] == 255).all()


def test_paste_back_paints_both_persons_in_the_photo(model, two, tmp_path):
    assert paint(model, two, "-o", tmp_path / "us.jpg", "--paste-back")[0] == 0
    photo = pixels(tmp_path / "us.jpg").astype(int)
    assert photo.shape == pixels(two).shape
    changed = np.abs(photo - pixels(two)).max(axis=2)
    assert (changed[60:120, 60:120] > 12).mean() > 0.2
    assert (changed[60:160, 340:420] > 12).mean() > 0.2


def test_paste_back_leaves_no_gap_between_people_who_touch(model, sample, tmp_path, monkeypatch):
    unwarp, planes = compositing._unwarp, []
    monkeypatch.setattr(Portraitist, "mask", lambda _, crop: np.full(crop.square.inside.shape, 255, np.uint8))
    monkeypatch.setattr(compositing, "_unwarp", lambda *arguments: planes.append(unwarp(*arguments)) or planes[-1])
    photo = tmp_path / "us.png"
    touching_people(sample).convert("RGB").save(photo)
    assert paint(model, photo, "-o", tmp_path / "out.png", "--paste-back")[0] == 0
    masks = [plane for plane in planes if plane.ndim == 2]
    assert len(masks) == 2
    assert np.max(masks, axis=0)[60:200, 100:300].min() == 255


def test_unsupported_output_formats_are_rejected(model, selfies, tmp_path):
    code, _, stderr = paint(model, selfies[0], "-o", tmp_path / "a.bmp")
    assert (code, stderr) == (
        2,
        f"portraitist: {tmp_path / 'a.bmp'}: suffix '.bmp' is not supported; allowed are .png .webp .jpg .jpeg\n",
    )
    code, _, stderr = paint(model, selfies[0], "-o", tmp_path / "a.jpg")
    assert code == 2
    assert stderr.startswith("portraitist: JPEG has no transparency; set --background")
    circle = ("--background", "ivory", "--shape", "circle")
    assert "--shape circle" in paint(model, selfies[0], "-o", tmp_path / "a.jpg", *circle)[2]
    assert paint(model, selfies[0], "-o", tmp_path / "a.jpg", "--background", "ivory")[0] == 0
    assert paint(model, selfies[0], "-o", tmp_path / "a.webp")[0] == 0


def test_paths_may_have_spaces_and_any_script(model, selfies, painted, tmp_path):
    selfie, output = tmp_path / "mein Gesicht, grün 自拍.jpg", tmp_path / "Bilder für später" / "я сам.png"
    shutil.copy(selfies[0], selfie)
    assert paint(model, selfie, "-o", output) == (0, f"{output}\n", "")
    assert np.array_equal(pixels(output), pixels(painted))


def test_avatar_has_no_metadata_of_the_selfie(model, selfies, tmp_path):
    text, exif = PngImagePlugin.PngInfo(), Image.Exif()
    text.add_text("Author", "SECRET-NAME")
    exif[0x010F] = "SECRET-CAMERA"
    with Image.open(selfies[0]) as picture:
        picture.save(tmp_path / "me.png", pnginfo=text, exif=exif)
    assert b"SECRET" in (tmp_path / "me.png").read_bytes()
    for background in ("transparent", "keep", "#ffffff"):
        output = tmp_path / f"{background.strip('#')}.png"
        assert paint(model, tmp_path / "me.png", "-o", output, "--background", background)[0] == 0
        assert b"SECRET" not in output.read_bytes()
        with Image.open(output) as avatar:
            assert avatar.info == {}
            assert not avatar.getexif()


def fill_store(*sources):
    for source in sources:
        Path(".fetch-cache", "sources", source).mkdir(parents=True)
        responses = SourceResponses(Path(".fetch-cache"), source)
        entry = {"sha256": responses.save_bytes(bytes(10**6)), "bytes": 10**6, "fetched_at": "2026-11-28T08:00:00Z"}
        responses.save("picture", "http://a.example/1", entry)


def test_cache_lists_sources_and_total_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_store("commons", "met")
    _, stdout, _ = run("dataset", "cache")
    assert re.findall(r"^(\w+) +1 +0 +0 +1\.0  2026-11-28", stdout, re.MULTILINE) == ["commons", "met"]
    assert stdout.splitlines()[-1] == "1.0 MB in .fetch-cache"


def test_clear_cache_removes_the_named_sources(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill_store("commons", "met")
    code, _, stderr = run("dataset", "clear-cache", "common")
    assert (code, stderr) == (2, "portraitist: common: no such source in .fetch-cache; available: commons, met\n")
    code, stdout, _ = run("dataset", "clear-cache", "met")
    assert (code, stdout.splitlines()[-1]) == (
        0, "to download again: dvc repro --force --single-item collect@met"
    )  # fmt: skip
    assert source_names(Path(".fetch-cache")) == ["commons"]
    assert run("dataset", "clear-cache")[1].startswith("1.0 MB removed")
    assert not Path(".fetch-cache").exists()
    assert run("dataset", "cache")[1].endswith("0.0 MB in .fetch-cache\n")


def test_unpack_writes_the_first_pictures(tmp_path):
    with ShardWriter(tmp_path / "crop", 2) as shards:
        for name in ("c", "a", "b"):
            shards.add(name, {"png": f"picture {name}".encode(), "inside.png": b"inside"})
    code, stdout, _ = run("dataset", "unpack", tmp_path / "crop", "-o", tmp_path / "out", "--count", 2)
    assert (code, stdout) == (0, f"2 of 3 pictures in {tmp_path / 'out'}\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.inside.png",
        "a.png",
        "b.inside.png",
        "b.png",
    ]
    assert (tmp_path / "out" / "b.png").read_bytes() == Shards(tmp_path / "crop").read("b", "png")


def test_unpack_needs_an_empty_folder(tmp_path):
    with ShardWriter(tmp_path / "crop", 2) as shards:
        for name in "ab":
            shards.add(name, {"png": b"picture"})
    (tmp_path / "out").mkdir()
    assert run("dataset", "unpack", tmp_path / "crop", "-o", tmp_path / "out", "--count", 1)[0] == 0
    code, stdout, stderr = run("dataset", "unpack", tmp_path / "crop", "-o", tmp_path / "out", "--count", 2)
    assert (code, stdout) == (2, "")
    assert stderr.startswith(f"portraitist: {tmp_path / 'out'} is not an empty folder")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


@pytest.mark.parametrize("command", ["unpack", "review"])
def test_dataset_commands_name_an_output_that_cannot_be_written(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    with ShardWriter(tmp_path / "data" / "clean", 2) as shards:
        shards.add("a", {"png": b"picture"})
    columns = ["id", "kind", "source", "status", "same_as", "relation", "sharpness", "width", "height", "reason"]
    (tmp_path / "data" / "clean" / "manifest.csv").write_text(",".join(columns) + "\n")
    (tmp_path / "file").touch()
    inputs = ["data/clean"] if command == "unpack" else []
    code, _, stderr = run("dataset", command, *inputs, "-o", "file/out")
    assert (code, stderr.count("\n")) == (2, 1)
    assert "file" in stderr


def test_folders_of_one_name_are_not_compared(tmp_path):
    for folder in ("a/cut", "b/cut", "crop"):
        with ShardWriter(tmp_path / folder, 2) as shards:
            shards.add("a", {"png": b"picture"})
    folders = [tmp_path / name / "cut" for name in "ab"]
    code, _, stderr = run("compare", *folders, "--selfies", tmp_path / "crop")
    assert (code, "several folders are called cut" in stderr) == (2, True)


def test_unpack_names_the_missing_index(tmp_path):
    assert run("dataset", "unpack", tmp_path, "-o", tmp_path / "out") == (
        2,
        "",
        f"portraitist: {tmp_path} is not a folder of shards: index.csv is missing; run the stage that creates it\n",
    )
    assert not (tmp_path / "out").exists()
    with ShardWriter(tmp_path / "raw" / "folder", 2) as shards:
        shards.add("a", {"bytes": b"picture"})
    _, _, stderr = run("dataset", "unpack", tmp_path / "raw", "-o", tmp_path / "out")
    assert stderr.endswith(f"give one of {tmp_path / 'raw' / 'folder'}\n")


def test_version_is_printed_by_command_and_module():
    command = [sys.executable, "-m", "portraitist", "-V"]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run("--version"), process.stdout) == ((0, f"{__version__}\n", ""), f"{__version__}\n")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_names_beyond_the_terminals_encoding_are_escaped(model, selfies, tmp_path):
    output = tmp_path / "сам.png"
    command = [sys.executable, "-m", "portraitist", "paint", selfies[0], "-o", output, "--model", model, "--size", "96"]
    process = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert (process.returncode, process.stderr) == (0, b"")
    assert process.stdout == f"{output}\n".encode("ascii", "backslashreplace")
    assert output.exists()


def test_json_is_valid_in_any_encoding(tmp_path):
    command = [sys.executable, "-m", "portraitist", "paint", tmp_path / "日本🎉.jpg", "--json"]
    process = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "latin1"}, capture_output=True, check=False)
    assert json.loads(process.stdout)["selfie"] == str(tmp_path / "日本🎉.jpg")


def test_no_arguments_show_help():
    code, stdout, stderr = run()
    assert code in (0, 2)
    assert "paint" in stdout + stderr


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("onnxruntime", ["paint", "me.jpg"], "app"),
        ("uvicorn", ["serve"], "app"),
        ("tensorboard", ["tensorboard"], "tensorboard"),
        ("av", ["paint", "clip.mp4"], "video"),
        ("onnx", ["site", "-o", "page"], "pipeline"),
    ],
)
def test_missing_package_is_named_with_its_extra(tmp_path, package, arguments, extra):
    code = f"import sys, portraitist; sys.modules[{package!r}] = None; from portraitist.cli import main; main()"
    command = [sys.executable, "-c", code, *arguments]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr == f"portraitist: the package {package} is missing: pip install 'portraitist[{extra}]'\n"


def test_every_package_of_an_extra_is_known():
    """The table follows pyproject.toml; distributions that are not installed here are looked up by their own name."""
    modules = {}
    for module, names in packages_distributions().items():
        for name in names:
            modules.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(module)
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    for extra, block in re.findall(
        r"^(\w+) = \[(.*?)\](?: #.*)?$", listed.partition("[project.")[0], re.DOTALL | re.MULTILINE
    ):
        for name in re.findall(r'"([\w.-]+)[^"]*"', block) if extra in MODULES else []:
            key = re.sub(r"[-_.]+", "-", name).lower()
            candidates = modules.get(key, {name.replace("-", "_")})
            assert key == "portraitist" or candidates & set(MODULES[extra]), (extra, name)


def test_completion_lists_backgrounds():
    environment = {
        "_PORTRAITIST_COMPLETE": "complete_bash",
        "COMP_WORDS": "portraitist paint --background ",
        "COMP_CWORD": "3",
    }
    command = [
        sys.executable,
        "-c",
        "import sys; sys.argv[0] = 'portraitist'; from portraitist.cli import main; main()",
    ]
    process = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert process.stdout.split() == ["backdrop", "transparent", "keep"]


def test_module_installs_completion_of_the_command():
    command = [sys.executable, "-m", "portraitist"]
    environment = {"_PORTRAITIST_COMPLETE": "source_bash"}
    process = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert process.stdout.strip().endswith("_portraitist_completion portraitist"), process


def test_file_names_of_eighty_chinese_letters_work(model, selfies, tmp_path):
    output = tmp_path / f"{'自' * 80}.png"
    assert paint(model, selfies[0], "-o", output) == (0, f"{output}\n", "")
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_avatar_of_a_concurrent_run_counts_as_existing(model, selfies, tmp_path, monkeypatch):
    output = tmp_path / f"{selfies[0].stem}.png"
    original = paint_files.encode_avatar

    def encode(picture, form):
        output.write_bytes(b"of the other run")
        return original(picture, form)

    monkeypatch.setattr(paint_files, "encode_avatar", encode)
    code, stdout, stderr = paint(model, selfies[0], "-o", f"{tmp_path}/")
    assert (code, stdout, "skipped 1 with an existing avatar" in stderr) == (0, "", True)
    assert output.read_bytes() == b"of the other run"


def test_pictures_in_folders_are_recognised_by_content(model, selfies, tmp_path):
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    shutil.copy(selfies[0], folder / "a.jfif")
    for number in range(7):
        (folder / f"{number}.txt").write_text("no picture", encoding="utf-8")
    code, stdout, stderr = paint(model, folder, "-o", tmp_path / "out")
    assert (code, stdout) == (0, f"{tmp_path / 'out' / 'a.png'}\n")
    assert re.fullmatch(r"portraitist: skipped 8 .*0\.txt, .* and 3 more\n", stderr)


def test_gif_of_one_frame_becomes_a_picture(model, selfies, tmp_path):
    (tmp_path / "in").mkdir()
    with Image.open(selfies[0]) as picture:
        picture.quantize(64).save(tmp_path / "in" / "still.gif", save_all=True, loop=0)
    single, batch = tmp_path / "a.png", tmp_path / "out" / "still.png"
    assert paint(model, tmp_path / "in" / "still.gif", "-o", single) == (0, f"{single}\n", "")
    assert paint(model, tmp_path / "in", "-o", tmp_path / "out") == (0, f"{batch}\n", "")
    assert pixels(single).shape == (SIDE, SIDE, 4)
    assert single.read_bytes() == batch.read_bytes()


def test_photo_that_is_named_gif_is_painted(model, selfies, tmp_path):
    shutil.copy(selfies[0], tmp_path / "me.gif")
    assert paint(model, tmp_path / "me.gif", "-o", tmp_path / "a.png") == (0, f"{tmp_path / 'a.png'}\n", "")


def test_unreadable_selfie_is_named_and_the_others_painted(model, selfies, tmp_path, monkeypatch):
    read = Path.open

    def open_if_allowed(path, *arguments, **options):
        if path.name == "locked.jpg":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path, *arguments, **options)

    shutil.copy(selfies[0], tmp_path / "locked.jpg")
    monkeypatch.setattr(Path, "open", open_if_allowed)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path).name != "locked.jpg")  # what Typer calls
    code, stdout, stderr = paint(model, tmp_path / "locked.jpg", selfies[1], "-o", f"{tmp_path}/out/")
    assert (code, stdout) == (1, f"{tmp_path}/out/{selfies[1].stem}.png\n")
    assert f"{tmp_path}/locked.jpg: Permission denied" in stderr


def test_pictures_of_the_user_that_are_named_avatar_are_painted(tmp_path, selfies):
    (tmp_path / "below").mkdir()
    shutil.copy(selfies[0], tmp_path / "my-avatar.jpg")
    shutil.copy(selfies[1], tmp_path / "old-avatar.png")
    assert expand_paths([tmp_path]).selfies == [tmp_path / "my-avatar.jpg"]
    (tmp_path / "my-avatar.jpg").unlink()
    with pytest.raises(paint_files.BatchError, match="no pictures found; supported are"):
        expand_paths([tmp_path])


def test_damaged_model_ends_a_batch_with_one_line(model, selfies, tmp_path, monkeypatch):
    nodes = [helper.make_node("Gather", ["pictures", "index"], ["painted"])]
    index = helper.make_tensor("index", TensorProto.INT64, [1], [9])  # of a picture that is not in the batch
    path = replaced_graph(model, tmp_path / "x.onnx", nodes, ["n", "h", "w", 3], [index])
    monkeypatch.setattr(trial_run, "try_graph", lambda *_: None)  # which would find the error
    code, _, stderr = paint(path, *selfies, "-o", tmp_path / "out")
    assert (code, stderr.count("\n")) == (2, 1)
    assert stderr.startswith(f"portraitist: {path}: the model cannot run: [ONNXRuntimeError]")


def test_damaged_generator_for_examples_is_named_once(shipped, selfies, tmp_path):
    path = with_example_generator(shipped.parent, tmp_path / "x.onnx", b"damaged")
    code, _, stderr = paint(path, selfies[0], "-o", tmp_path / "out.png", "--like", selfies[1])
    assert (code, stderr.count("\n"), stderr.count(str(path))) == (2, 1, 1)
    assert stderr.startswith(f"portraitist: {path}: example_generator.onnx in `parts`: not an exported model")


def test_native_libraries_print_nothing_in_a_batch(model, tmp_path):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.tif", compression="tiff_lzw")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[100:200] = b"\xff" * 100
    (tmp_path / "a.tif").write_bytes(data)
    command = [sys.executable, "-m", "portraitist", "paint", tmp_path / "a.tif", "-o", tmp_path / "a.png"]
    process = subprocess.run([*command, "--model", model], capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert all(line.startswith("portraitist: ") for line in process.stderr.splitlines()), process.stderr


@pytest.mark.slow
def test_terminated_paint_leaves_no_temporary_files(model, selfies, tmp_path):
    (tmp_path / "temp").mkdir()
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(300):
        shutil.copy(selfies[0], folder / f"{number}.jpg")
    command = [sys.executable, "-m", "portraitist", "paint", folder, "-o", tmp_path / "out", "--model", model]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temp")}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM
    assert list((tmp_path / "temp").iterdir()) == []
    assert all(path.suffix == ".png" and not path.name.startswith(".") for path in (tmp_path / "out").iterdir())


@pytest.mark.parametrize("command", ["paint", "styles", "serve", "site", "compare", "tensorboard"])
def test_help_of_each_command_has_an_example(command):
    assert "Example: portraitist" in run(command, "--help")[1]


@pytest.mark.parametrize("command", ["unpack", "review", "forget", "cache", "clear-cache"])
def test_help_of_each_dataset_command_has_an_example(command):
    assert "Example: portraitist dataset" in run("dataset", command, "--help")[1]
