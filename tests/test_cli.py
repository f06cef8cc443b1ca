import re
import shutil

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from toys import ROOT, checkpoint
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.params import CropParams, load
from portraitist.shards import Shards, ShardWriter

SIDE = load(CropParams, "crop", ROOT).size_px


@pytest.fixture(scope="module")
def models(pretrained, tmp_path_factory):
    """A folder as the pipeline leaves it: a model, and the pretrained parts beside it."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "pretrained").symlink_to(pretrained)
    return checkpoint(folder / "model.pt").parent


@pytest.fixture(scope="module")
def selfies(sample):
    return sorted((sample / "selfies").iterdir())[:2]


def run(*words):
    """The command's exit code, what it said, and what it complained of; never a traceback."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def paint(models, *words):
    return run("paint", *words, "--model", models / "model.pt")


def pixels(path):
    with Image.open(path) as picture:
        return np.array(picture)


@pytest.fixture(scope="module")
def painted(models, selfies, tmp_path_factory):
    """One selfie, painted with nothing said but where to."""
    path = tmp_path_factory.mktemp("one") / "avatar.png"
    assert paint(models, selfies[0], "-o", path) == (0, f"{path}\n", "")
    return path


def test_an_avatar_is_a_transparent_png_of_the_models_size_and_nothing_else_is_left(painted):
    with Image.open(painted) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (SIDE, SIDE))
    alpha = pixels(painted)[..., 3]
    assert (alpha == 255).any()
    assert (alpha == 0).any()
    assert [path.name for path in painted.parent.iterdir()] == ["avatar.png"]


def test_several_selfies_go_into_a_folder_by_their_names(models, selfies, painted, tmp_path):
    code, said, _ = paint(models, *selfies, "-o", tmp_path / "new")
    places = [tmp_path / "new" / f"{path.stem}.png" for path in selfies]
    assert code == 0
    assert said.split() == [str(place) for place in places]
    assert np.array_equal(pixels(places[0]), pixels(painted))
    assert not np.array_equal(pixels(places[1]), pixels(painted))


def test_one_selfie_goes_into_a_folder_that_is_there(models, selfies, tmp_path):
    assert paint(models, selfies[0], "-o", tmp_path)[0] == 0
    assert (tmp_path / f"{selfies[0].stem}.png").exists()


def test_a_colour_stands_behind_the_person(models, selfies, painted, tmp_path):
    assert paint(models, selfies[0], "-o", tmp_path / "a.png", "--background", "#0aC81e")[0] == 0
    behind = pixels(painted)[..., 3] == 0
    found = pixels(tmp_path / "a.png")
    assert found.shape == (SIDE, SIDE, 3)
    assert (found[behind] == (10, 200, 30)).all()
    assert not (found[~behind] == (10, 200, 30)).all(axis=-1).any()


def test_keep_keeps_the_background_of_the_selfie(models, selfies, painted, tmp_path):
    assert paint(models, selfies[0], "-o", tmp_path / "a.png", "--background", "keep")[0] == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(painted)[..., :3])


@pytest.mark.parametrize("background", ["#12345", "red", "#gggggg", "#1234567", ""])
def test_a_background_that_is_none_is_refused_with_what_is_allowed(models, selfies, tmp_path, background):
    code, _, complaint = paint(models, selfies[0], "-o", tmp_path / "a.png", "--background", background)
    assert code == 2
    assert complaint == f"portraitist: --background is {background!r}; allowed are transparent, keep, and #rrggbb\n"
    assert not (tmp_path / "a.png").exists()


def test_a_size_is_the_side_in_pixels(models, selfies, tmp_path):
    assert paint(models, selfies[0], "-o", tmp_path / "a.png", "--size", 40)[0] == 0
    assert pixels(tmp_path / "a.png").shape == (40, 40, 4)
    assert paint(models, selfies[0], "-o", tmp_path / "b.png", "--size", 15)[0] == 2


def test_a_file_that_exists_is_kept_unless_force_is_said(models, selfies, tmp_path):
    place = tmp_path / "a.png"
    place.write_bytes(b"mine")
    code, _, complaint = paint(models, selfies[0], "-o", place)
    assert (code, complaint) == (2, f"portraitist: {place} exists; --force writes over it\n")
    assert place.read_bytes() == b"mine"
    assert paint(models, selfies[0], "-o", place, "--force")[0] == 0
    assert pixels(place).shape == (SIDE, SIDE, 4)


def test_one_bad_file_is_named_and_the_others_are_painted(models, selfies, tmp_path):
    bad, empty = tmp_path / "bad.jpg", tmp_path / "grey.png"
    bad.write_text("no picture", encoding="utf-8")
    Image.new("RGB", (80, 64), (90, 90, 90)).save(empty)
    code, said, complaint = paint(models, bad, selfies[0], empty, tmp_path / "none.jpg", "-o", tmp_path / "out")
    lines = complaint.splitlines()
    assert code == 1
    assert said == f"{tmp_path / 'out' / selfies[0].stem}.png\n"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [f"{selfies[0].stem}.png"]
    assert re.fullmatch(rf"portraitist: {bad}: not a picture.*", lines[0])
    assert lines[1] == f"portraitist: {empty}: no face found in the 80 x 64 picture"
    assert lines[2] == f"portraitist: {tmp_path / 'none.jpg'}: No such file or directory"
    assert lines[3:] == ["portraitist: 3 of 4 selfies could not be painted"]


def test_two_selfies_of_one_name_are_refused_before_one_is_lost(models, selfies, tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(selfies[0], tmp_path / folder / "me.jpg")
    code, _, complaint = paint(models, tmp_path / "a" / "me.jpg", tmp_path / "b" / "me.jpg", "-o", tmp_path / "out")
    assert (code, complaint) == (2, "portraitist: two selfies have the same name; paint them one by one\n")


def test_a_model_that_is_missing_is_named_with_what_makes_it(tmp_path, selfies):
    code, _, complaint = paint(tmp_path, selfies[0], "-o", tmp_path / "a.png")
    assert code == 2
    assert complaint == f"portraitist: {tmp_path / 'model.pt'}: no such file; `dvc repro` makes it\n"


def test_pretrained_parts_that_are_missing_are_named(tmp_path, selfies):
    code, _, complaint = paint(checkpoint(tmp_path / "model.pt").parent, selfies[0], "-o", tmp_path / "a.png")
    assert code == 2
    assert re.fullmatch(r"portraitist: \S+\.tflite is missing: `dvc repro weights` brings it\n", complaint)


def test_a_model_that_does_not_paint_is_refused(tmp_path, selfies):
    code, _, complaint = paint(checkpoint(tmp_path / "model.pt", "unet_mask").parent, selfies[0], "-o", tmp_path / "a")
    assert code == 2
    assert complaint.endswith("holds unet_mask, which does not paint\n")


def test_paths_may_hold_spaces_and_any_letters(models, selfies, painted, tmp_path):
    selfie, place = tmp_path / "mein Gesicht, grün 自拍.jpg", tmp_path / "Bilder für später" / "я сам.png"
    shutil.copy(selfies[0], selfie)
    assert paint(models, selfie, "-o", place) == (0, f"{place}\n", "")
    assert np.array_equal(pixels(place), pixels(painted))


def test_the_avatar_tells_nothing_that_the_selfie_told_of_its_maker(models, selfies, tmp_path):
    told, exif = PngImagePlugin.PngInfo(), Image.Exif()
    told.add_text("Author", "SECRET-NAME")
    exif[0x010F] = "SECRET-CAMERA"
    with Image.open(selfies[0]) as picture:
        picture.save(tmp_path / "me.png", pnginfo=told, exif=exif)
    assert b"SECRET" in (tmp_path / "me.png").read_bytes()
    for background in ("transparent", "keep", "#ffffff"):
        place = tmp_path / f"{background.strip('#')}.png"
        assert paint(models, tmp_path / "me.png", "-o", place, "--background", background)[0] == 0
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


def test_peek_into_another_folder_says_what_is_missing(tmp_path):
    assert run("peek", tmp_path, "-o", tmp_path / "out") == (
        2,
        "",
        f"portraitist: {tmp_path} holds no shards: index.csv is missing\n",
    )
    assert not (tmp_path / "out").exists()


def test_with_no_word_at_all_help_is_shown():
    code, said, complaint = run()
    assert code in (0, 2)
    assert "paint" in said + complaint
