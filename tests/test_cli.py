import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from toys import ROOT
from typer.testing import CliRunner

from portraitist import __version__
from portraitist.app.avatar import Portraitist
from portraitist.app.paint_files import expand_paths, plan_outputs
from portraitist.cli import app
from portraitist.core.params import load
from portraitist.core.shards import Shards, ShardWriter
from portraitist.crop.params import CropParams

SIDE = load(CropParams, "crop", ROOT).size_px


@pytest.fixture(scope="module")
def selfies(sample):
    return sorted((sample / "selfies").iterdir())[:2]


def run(*words):
    """The command's exit code, what it said, and what it complained of; never a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def paint(model, *words):
    return run("paint", *words, "--model", model)


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.fixture(scope="module")
def painted(model, selfies, tmp_path_factory):
    """One selfie, painted with nothing said but where to."""
    path = tmp_path_factory.mktemp("one") / "avatar.png"
    assert paint(model, selfies[0], "-o", path) == (0, f"{path}\n", "")
    return path


def test_an_avatar_is_a_transparent_png_of_the_models_size_and_nothing_else_is_left(painted):
    with Image.open(painted) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (SIDE, SIDE))
    alpha = pixels(painted)[..., 3]
    assert (alpha == 255).any()
    assert (alpha == 0).any()
    assert [path.name for path in painted.parent.iterdir()] == ["avatar.png"]


def test_several_selfies_go_into_a_folder_by_their_names(model, selfies, painted, tmp_path):
    code, said, _ = paint(model, *selfies, "-o", tmp_path / "new")
    places = [tmp_path / "new" / f"{path.stem}.png" for path in selfies]
    assert code == 0
    assert said.split() == [str(place) for place in places]
    assert np.array_equal(pixels(places[0]), pixels(painted))
    assert not np.array_equal(pixels(places[1]), pixels(painted))


def test_one_selfie_goes_into_a_folder_that_is_there(model, selfies, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path)[0] == 0
    assert (tmp_path / f"{selfies[0].stem}.png").exists()


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("a.heic", "a.png"),
        ("a.mov.jpg", "a.mov.png"),
        ("my.webm.old.PNG", "my.webm.old.png"),
        ("a.MOV", "a.mp4"),
        ("a.b.webm", "a.b.mp4"),
        ("a.mp4", "a.mp4"),
        ("a.Gif", "a.gif"),
    ],
)
def test_in_a_folder_the_ending_alone_is_another(tmp_path, name, made):
    assert plan_outputs([Path("in") / name], tmp_path, may_exist=False) == [tmp_path / made]


def test_a_colour_stands_behind_the_person(model, selfies, painted, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--background", "#0aC81e")[0] == 0
    cover = pixels(painted)[..., 3]
    found = pixels(tmp_path / "a.png")
    assert found.shape == (SIDE, SIDE, 3)
    assert (found[cover == 0] == (10, 200, 30)).all()
    assert not (found[cover > 16] == (10, 200, 30)).all(axis=-1).any()  # less may round to the colour itself


def test_keep_keeps_the_background_of_the_selfie(model, selfies, painted, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--background", "keep")[0] == 0
    clear = pixels(painted)[..., 3] == 0
    assert len(np.unique(pixels(tmp_path / "a.png")[clear], axis=0)) > 20


@pytest.mark.parametrize("background", ["#12345", "rot", "#gggggg", "#1234567", ""])
def test_a_background_that_is_none_is_refused_with_what_is_allowed(model, selfies, tmp_path, background):
    code, _, complaint = paint(model, selfies[0], "-o", tmp_path / "a.png", "--background", background)
    assert code == 2
    assert complaint.startswith(f"portraitist: background is {background!r}; allowed are transparent, keep, a colour")
    assert not (tmp_path / "a.png").exists()


def test_a_size_is_the_side_in_pixels(model, selfies, tmp_path):
    assert paint(model, selfies[0], "-o", tmp_path / "a.png", "--size", 40)[0] == 0
    assert pixels(tmp_path / "a.png").shape == (40, 40, 4)
    assert paint(model, selfies[0], "-o", tmp_path / "b.png", "--size", 15)[0] == 2


def test_a_file_that_exists_is_kept_unless_force_is_said(model, selfies, tmp_path):
    place = tmp_path / "a.png"
    place.write_bytes(b"mine")
    code, _, complaint = paint(model, selfies[0], "-o", place)
    assert (code, complaint) == (2, f"portraitist: {place} exists; --force writes over it\n")
    assert place.read_bytes() == b"mine"
    assert paint(model, selfies[0], "-o", place, "--force")[0] == 0
    assert pixels(place).shape == (SIDE, SIDE, 4)


def test_one_bad_file_is_named_and_the_others_are_painted(model, selfies, tmp_path):
    bad, empty = tmp_path / "bad.jpg", tmp_path / "grey.png"
    bad.write_text("no picture", encoding="utf-8")
    Image.new("RGB", (80, 64), (90, 90, 90)).save(empty)
    code, said, complaint = paint(model, bad, selfies[0], empty, tmp_path / "none.jpg", "-o", tmp_path / "out")
    lines = complaint.splitlines()
    assert code == 1
    assert said == f"{tmp_path / 'out' / selfies[0].stem}.png\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{selfies[0].stem}.png"]
    assert re.fullmatch(rf"portraitist: {bad}: not a picture.*", lines[0])
    assert lines[1] == f"portraitist: {empty}: no face found in the 80 x 64 picture"
    assert lines[2] == f"portraitist: {tmp_path / 'none.jpg'}: No such file or directory"
    assert lines[3:] == ["portraitist: 3 of 4 selfies could not be painted, or not whole"]


def test_two_selfies_of_one_name_are_refused_before_one_is_lost(model, selfies, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(selfies[0], tmp_path / folder / "me.jpg")
    code, _, complaint = paint(model, tmp_path / "a" / "me.jpg", tmp_path / "b" / "me.jpg", "-o", tmp_path / "out")
    both = f"{tmp_path / 'a' / 'me.jpg'} and {tmp_path / 'b' / 'me.jpg'}"
    assert (code, complaint) == (2, f"portraitist: {both} have the same name; paint them one by one\n")


def test_selfies_that_differ_in_their_endings_only_keep_them_and_one_named_twice_is_one(tmp_path):
    given = [Path("in") / name for name in ("IMG_1.heic", "IMG_1.JPG", "IMG_1.mov", "IMG_2.jpg")]
    made = [path.name for path in plan_outputs(given, tmp_path, may_exist=False)]
    assert made == ["IMG_1.heic.png", "IMG_1.JPG.png", "IMG_1.mp4", "IMG_2.png"]
    (tmp_path / "a.jpg").touch()
    assert expand_paths([tmp_path / "a.jpg", tmp_path, tmp_path / "*.jpg"]) == [tmp_path / "a.jpg"]


def test_a_selfie_is_never_written_over(model, selfies, two, tmp_path):
    here = tmp_path / "in"
    here.mkdir()
    shutil.copy(two, here / "us-2.png")
    (tmp_path / "link.png").hardlink_to(here / "us-2.png")
    for place in (here, here / "us-2.png", tmp_path / "link.png"):
        code, _, complaint = paint(model, here, "-o", place, "--force")
        assert (code, complaint.count("\n")) == (2, 1)
        assert re.match(r"portraitist: .*(us-2|link)\.png is one of the selfies, and none is written over", complaint)
    assert (
        paint(model, here / "us-2.png", "-o", here / "us.png", "--force")[0] == 0
    )  # its second face's number is taken
    assert sorted(path.name for path in here.iterdir()) == ["us-2.png", "us-3.png", "us.png"]
    assert (here / "us-2.png").read_bytes() == two.read_bytes()
    own = tmp_path / "own"
    own.mkdir()
    shutil.copy(selfies[0], own / "a.jpg")
    assert paint(model, own, "-o", own)[0] == 0
    code, _, complaint = paint(model, own, "-o", own)  # the avatar would be a selfie
    assert (code, complaint) == (2, f"portraitist: {own / 'a.png'} is one of the selfies, and none is written over\n")


def test_a_folder_is_gone_on_with_where_it_was_left(model, selfies, tmp_path):
    here, out = tmp_path / "in", tmp_path / "out"
    here.mkdir()
    shutil.copy(selfies[0], here / "a.jpg")
    assert paint(model, here, "-o", out)[0] == 0
    (out / "a.png").write_bytes(b"mine")
    assert paint(model, here, "-o", out) == (0, "", "portraitist: 1 is there already; --force paints again\n")
    shutil.copy(selfies[1], here / "b.jpg")
    code, said, complaint = paint(model, here, "-o", out)
    assert (code, said, complaint.count("1 is there already")) == (0, f"{out / 'b.png'}\n", 1)
    assert (out / "a.png").read_bytes() == b"mine"
    assert paint(model, here / "a.jpg", "-o", out)[0] == 2
    assert paint(model, here, "-o", out, "--force")[2] == ""
    assert (out / "a.png").read_bytes() != b"mine"


def test_several_selfies_go_into_no_single_file_and_a_slash_says_folder(model, selfies, tmp_path):
    code, _, complaint = paint(model, *selfies, "-o", tmp_path / "two.png")
    assert (code, complaint) == (
        2,
        f"portraitist: {tmp_path / 'two.png'} is one file for 2 selfies; a folder ends in /\n",
    )
    assert plan_outputs([Path("a.jpg")], f"{tmp_path}/v1.2/", may_exist=False) == [tmp_path / "v1.2" / "a.png"]
    assert (
        plan_outputs([Path("a.jpg"), Path("b.jpg")], tmp_path / "v1.2", may_exist=False)[1]
        == tmp_path / "v1.2" / "b.png"
    )
    assert paint(model, selfies[0], "-o", f"{tmp_path}/v1.2/")[0] == 0
    assert (tmp_path / "v1.2" / f"{selfies[0].stem}.png").exists()


def test_words_that_are_no_place_and_no_selfie_are_refused(model, selfies, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert paint(model, selfies[0], "-o", "-")[2].startswith("portraitist: -o -: nothing is written to standard output")
    code, _, complaint = paint(model, "https://example.org/a.jpg", "-o", "a.png")
    told = "https://example.org/a.jpg: addresses are not read; download the picture first"
    assert (code, complaint) == (2, f"portraitist: {told}\n")
    assert not list(tmp_path.iterdir())


def test_a_fault_of_the_output_names_the_output(model, selfies, tmp_path, monkeypatch):
    (tmp_path / "file.png").write_bytes(b"mine")
    code, _, complaint = paint(model, selfies[0], "-o", tmp_path / "file.png" / "x.png")
    assert (code, complaint) == (2, f"portraitist: {tmp_path / 'file.png'} is no folder\n")

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    portraitist = Portraitist.open(model)
    monkeypatch.setattr(Portraitist, "open", lambda *_, **__: portraitist)
    monkeypatch.setattr(Path, "write_bytes", full)
    code, _, complaint = paint(model, selfies[0], "-o", tmp_path / "a.png")
    told = f"{selfies[0]}: cannot write {tmp_path / 'a.png'}: No space left on device"
    assert (code, complaint.splitlines()[0]) == (1, f"portraitist: {told}")
    assert [path.name for path in tmp_path.iterdir()] == ["file.png"]


@pytest.mark.parametrize("words", [["--size", 99], ["--shape", "circle"], ["--background", "keep"]])
def test_an_option_that_pasting_back_leaves_without_effect_is_refused(model, selfies, tmp_path, words):
    code, _, complaint = paint(model, selfies[0], "-o", tmp_path / "a.png", "--paste-back", *words)
    assert (code, complaint.count("\n")) == (2, 1)
    assert "no --background, --shape or --size goes with it" in complaint
    (tmp_path / "a.mp4").touch()
    code, _, complaint = paint(model, tmp_path / "a.mp4", "-o", tmp_path / "out", "--paste-back")
    assert (code, complaint) == (2, f"portraitist: {tmp_path / 'a.mp4'} is a clip: --paste-back is for pictures\n")


def test_a_model_that_is_missing_or_none_is_named(tmp_path, selfies):
    code, _, complaint = paint(tmp_path / "x.onnx", selfies[0], "-o", tmp_path / "a.png")
    assert (code, complaint.count("\n")) == (2, 1)
    assert complaint.startswith(f"portraitist: {tmp_path / 'x.onnx'}: no such file; `make repro` makes it")
    code, _, complaint = paint(selfies[0], selfies[0], "-o", tmp_path / "a.png")
    assert (code, complaint) == (2, f"portraitist: {selfies[0]}: not a model that stage export left\n")


def test_a_folder_and_a_glob_stand_for_the_pictures_in_them(model, selfies, tmp_path):
    here = tmp_path / "in [1]"
    here.mkdir()
    for place, selfie in enumerate(selfies):
        shutil.copy(selfie, here / f"{place}.jpg")
    (here / "notes.txt").write_text("mine", encoding="utf-8")
    (here / "._0.jpg").write_text("of macOS", encoding="utf-8")
    (here / "a.jpg").mkdir()
    assert paint(model, here, "-o", tmp_path / "a")[0] == 0
    assert paint(model, tmp_path / "in*" / "*.jpg", "-o", tmp_path / "b")[0] == 0
    for name in "ab":
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["0.png", "1.png"]
    code, _, complaint = paint(model, tmp_path / "a" / "*.heic", "-o", tmp_path / "c")
    assert code == 2
    assert re.search(r"\*\.heic: no pictures there; read are \.jpg", complaint)
    code, _, complaint = paint(model, tmp_path, "-o", tmp_path / "c")
    assert code == 2
    assert re.search(r"no pictures there, but in .*/(a|b|in \[1\]): name that folder\n", complaint)


@pytest.fixture(scope="module")
def two(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "us.png"
    photo = Image.new("RGB", (512, 256), (120, 140, 130))
    for place, number in enumerate((0, 6)):
        with Image.open(sample / "selfies" / f"{number:04d}.jpg") as opened:
            photo.paste(opened.resize((256 - 60 * (1 - place),) * 2), (256 * place, 0))
    photo.save(path)
    return path


def test_of_several_faces_the_largest_has_the_name_and_the_others_are_numbered(model, two, tmp_path):
    assert paint(model, two, "-o", tmp_path / "a" / "us.png")[1].split() == [
        str(tmp_path / "a" / "us.png"),
        str(tmp_path / "a" / "us-2.png"),
    ]
    assert paint(model, two, "-o", tmp_path / "b" / "us.png", "--face", "largest")[0] == 0
    assert np.array_equal(pixels(tmp_path / "a" / "us.png"), pixels(tmp_path / "b" / "us.png"))
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["us.png"]
    code, _, complaint = paint(model, two, "-o", tmp_path / "c.png", "--face", "all")
    assert (code, complaint) == (2, "portraitist: --face is 'all'; allowed are each and largest\n")


def test_a_second_faces_file_that_exists_is_kept_too(model, two, tmp_path):
    (tmp_path / "us-2.png").write_bytes(b"mine")
    code, said, complaint = paint(model, two, "-o", tmp_path / "us.png")
    assert (code, said) == (1, f"{tmp_path / 'us.png'}\n")
    assert f"{tmp_path / 'us-2.png'} exists; --force writes over it" in complaint
    assert (tmp_path / "us-2.png").read_bytes() == b"mine"


def test_a_second_face_takes_no_name_that_another_selfie_of_the_run_has(model, selfies, two, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(two, tmp_path / "in" / "us.png")
    shutil.copy(selfies[1], tmp_path / "in" / "us-2.jpg")
    made = {}
    for force in ([], ["--force"]):
        code, said, complaint = paint(model, tmp_path / "in", "-o", tmp_path / "out", *force)
        assert (code, complaint) == (0, "")
        assert sorted(said.split()) == [str(tmp_path / "out" / f"{name}.png") for name in ("us-2", "us-3", "us")]
        made[bool(force)] = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert made[False] == made[True]
    paint(model, selfies[1], "-o", tmp_path / "alone.png")
    assert made[False]["us-2.png"] == (tmp_path / "alone.png").read_bytes()


def test_pasted_back_the_photo_keeps_its_size_and_both_are_painted(model, two, tmp_path):
    assert paint(model, two, "-o", tmp_path / "us.jpg", "--paste-back")[0] == 0
    made = pixels(tmp_path / "us.jpg").astype(int)
    assert made.shape == pixels(two).shape
    changed = np.abs(made - pixels(two)).max(axis=2)
    assert (changed[60:120, 60:120] > 12).mean() > 0.2
    assert (changed[60:160, 340:420] > 12).mean() > 0.2


def test_the_endings_that_are_written_are_named(model, selfies, tmp_path):
    code, _, complaint = paint(model, selfies[0], "-o", tmp_path / "a.bmp")
    assert (code, complaint) == (2, f"portraitist: {tmp_path / 'a.bmp'}: allowed endings are .png .webp .jpg .jpeg\n")
    code, _, complaint = paint(model, selfies[0], "-o", tmp_path / "a.jpg")
    assert code == 2
    assert complaint.startswith("portraitist: JPEG holds nothing transparent; give a background")
    round_one = ("--background", "ivory", "--shape", "circle")
    assert "a circle's corners are" in paint(model, selfies[0], "-o", tmp_path / "a.jpg", *round_one)[2]
    assert paint(model, selfies[0], "-o", tmp_path / "a.jpg", "--background", "ivory")[0] == 0
    assert paint(model, selfies[0], "-o", tmp_path / "a.webp")[0] == 0


def test_paths_may_hold_spaces_and_any_letters(model, selfies, painted, tmp_path):
    selfie, place = tmp_path / "mein Gesicht, grün 自拍.jpg", tmp_path / "Bilder für später" / "я сам.png"
    shutil.copy(selfies[0], selfie)
    assert paint(model, selfie, "-o", place) == (0, f"{place}\n", "")
    assert np.array_equal(pixels(place), pixels(painted))


def test_the_avatar_tells_nothing_that_the_selfie_told_of_its_maker(model, selfies, tmp_path):
    told, exif = PngImagePlugin.PngInfo(), Image.Exif()
    told.add_text("Author", "SECRET-NAME")
    exif[0x010F] = "SECRET-CAMERA"
    with Image.open(selfies[0]) as picture:
        picture.save(tmp_path / "me.png", pnginfo=told, exif=exif)
    assert b"SECRET" in (tmp_path / "me.png").read_bytes()
    for background in ("transparent", "keep", "#ffffff"):
        place = tmp_path / f"{background.strip('#')}.png"
        assert paint(model, tmp_path / "me.png", "-o", place, "--background", background)[0] == 0
        assert b"SECRET" not in place.read_bytes()
        with Image.open(place) as avatar:
            assert avatar.info == {}
            assert not avatar.getexif()


def test_peek_unpacks_the_first_pictures_of_a_folder_of_shards(tmp_path):
    with ShardWriter(tmp_path / "crop", 2) as shards:
        for name in ("c", "a", "b"):
            shards.add(name, {"png": f"picture {name}".encode(), "inside.png": b"inside"})
    code, said, _ = run("peek", tmp_path / "crop", "-o", tmp_path / "out", "--count", 2)
    assert (code, said) == (0, f"2 of 3 pictures in {tmp_path / 'out'}\n")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.inside.png",
        "a.png",
        "b.inside.png",
        "b.png",
    ]
    assert (tmp_path / "out" / "b.png").read_bytes() == Shards(tmp_path / "crop").read("b", "png")


def test_peek_leaves_no_pictures_among_those_of_another_peek(tmp_path):
    with ShardWriter(tmp_path / "crop", 2) as shards:
        for name in "ab":
            shards.add(name, {"png": b"picture"})
    (tmp_path / "out").mkdir()
    assert run("peek", tmp_path / "crop", "-o", tmp_path / "out", "--count", 1)[0] == 0
    code, said, complaint = run("peek", tmp_path / "crop", "-o", tmp_path / "out", "--count", 2)
    assert (code, said) == (2, "")
    assert complaint.startswith(f"portraitist: {tmp_path / 'out'} is not empty")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_peek_into_another_folder_says_what_is_missing(tmp_path):
    assert run("peek", tmp_path, "-o", tmp_path / "out") == (
        2,
        "",
        f"portraitist: {tmp_path} holds no shards: index.csv is missing\n",
    )
    assert not (tmp_path / "out").exists()


def test_the_version_is_told_and_the_module_is_the_command():
    command = [sys.executable, "-m", "portraitist", "--version"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run("--version"), ran.stdout) == ((0, f"{__version__}\n", ""), f"{__version__}\n")
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_a_name_that_the_terminal_cannot_show_is_no_reason_to_end(model, selfies, tmp_path):
    place = tmp_path / "сам.png"
    command = [sys.executable, "-m", "portraitist", "paint", selfies[0], "-o", place, "--model", model]
    ran = subprocess.run(command, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout == f"{place}\n".encode("ascii", "backslashreplace")
    assert place.exists()


def test_with_no_word_at_all_help_is_shown():
    code, said, complaint = run()
    assert code in (0, 2)
    assert "paint" in said + complaint


@pytest.mark.parametrize(
    ("package", "words"), [("onnxruntime", ["paint", "me.jpg", "-o", "a.png"]), ("tensorboard", ["events"])]
)
def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(tmp_path, package, words):
    code = f"import sys; sys.modules[{package!r}] = None; from portraitist.cli import main; main()"
    command = [sys.executable, "-c", code, *words]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    extras = "'portraitist[app]' to paint, [tensorboard] for events, [pipeline] for the rest"
    assert ran.stderr == f"portraitist: {package} is missing: pip install {extras}\n"
