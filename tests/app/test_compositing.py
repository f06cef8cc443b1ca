import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from toys import ROOT

from portraitist.app.avatar import Avatar, Portraitist
from portraitist.app.compositing import Finish, FinishError, apply_finish, encode_avatar, paste_back
from portraitist.core.blend import alpha_composite, extend_foreground
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

SIDE = 40
PERSON = (200, 90, 40)


def avatar(transform=((1, 0, 0), (0, 1, 0)), inside=None):
    """A person of one colour, soft at its left edge, before green."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:, 14:30] = 255
    mask[8:, 12:14] = 128
    picture = alpha_composite(np.full((SIDE, SIDE, 3), PERSON, np.uint8), mask, (0, 255, 0))
    full = np.full((SIDE, SIDE), 255, np.uint8) if inside is None else inside
    face = Face(1.0, (0.0, 0.0, 1.0, 1.0), np.zeros((6, 2), np.float32))
    return Avatar(picture, mask, Crop(CropImage(picture, None, full), face, np.array(transform, np.float32)))


def test_transparent_has_the_mask_as_alpha_and_no_background_under_the_soft_edge():
    pixels = np.array(apply_finish(avatar(), Finish()))
    assert np.array_equal(pixels[..., 3], avatar().mask)
    soft = pixels[8:, 12:14, :3].reshape(-1, 3).astype(int)
    assert np.abs(soft - PERSON).max() <= 6
    assert np.abs(avatar().picture[8:, 12:14].astype(int) - PERSON).max() > 60


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0)])
def test_before_a_colour_the_soft_edge_lies_between_the_person_and_that_colour(colour):
    pixels = np.array(apply_finish(avatar(), Finish(colour))).astype(int)
    assert (pixels[:8] == colour).all()
    assert np.abs(pixels[20, 20] - PERSON).max() <= 2
    assert np.abs(pixels[20, 12] - (np.array(PERSON) * 128 + np.array(colour) * 127) / 255).max() <= 6


def test_keep_keeps_the_background():
    assert np.array_equal(np.array(apply_finish(avatar(), Finish("keep"))), avatar().picture)


def test_a_picture_behind_is_cut_to_the_middle_and_scaled():
    behind = Image.new("RGB", (3 * SIDE, SIDE), "blue")
    behind.paste("yellow", (SIDE, 0, 2 * SIDE, SIDE))
    pixels = np.array(apply_finish(avatar(), Finish(behind, size_px=2 * SIDE)))
    assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert (pixels[:9, 8:-8] == (255, 255, 0)).all()


def test_a_circle_leaves_the_corners_empty_whatever_is_behind():
    alpha = np.array(apply_finish(avatar(), Finish((1, 2, 3), "circle", 64)))[..., 3]
    assert alpha[32].min() == 255
    assert alpha[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0] * 4
    assert (alpha / 255).mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert ((alpha > 0) & (alpha < 255)).sum() > 60


def test_what_is_the_persons_own_stays_and_the_rest_takes_the_colours_nearest_to_it():
    picture = np.full((20, 100, 3), (0, 255, 0), np.uint8)
    own = np.zeros((20, 100), np.uint8)
    picture[:, :20], picture[:, 80:] = (200, 10, 0), (0, 10, 200)
    picture[:, 20] = (100, 130, 0)
    own[:, :20] = own[:, 80:] = 255
    own[:, 20] = 254
    made = extend_foreground(picture, own).astype(int)
    assert np.array_equal(made[own == 255], picture[own == 255])
    assert np.abs(made[:, 20:30] - (200, 10, 0)).max() <= 1
    assert np.abs(made[:, 70:80] - (0, 10, 200)).max() <= 1
    assert np.array_equal(extend_foreground(picture, own // 2), picture)


def test_pasted_the_person_stands_where_it_was_cut_and_the_rest_is_untouched():
    photo = np.full((120, 160, 3), (10, 20, 30), np.uint8)
    made = np.array(paste_back(photo, [avatar(((0.5, 0, -20), (0, 0.5, -10)))]))  # square at (40, 20), doubled
    assert made.shape == photo.shape
    assert np.abs(made[20 + 2 * 20, 40 + 2 * 22].astype(int) - PERSON).max() <= 2
    assert (made[:, :60] == (10, 20, 30)).all()
    assert (made[:31] == (10, 20, 30)).all()
    bottom = made[98:102, 84].astype(int)  # the square ends at row 100, within the photo: no hard edge
    assert np.abs(np.diff(bottom, axis=0)).max() < 60


def test_a_person_that_the_photo_cuts_is_not_faded():
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    inside[36:] = 0
    photo = np.zeros((36, SIDE, 3), np.uint8)
    made = np.array(paste_back(photo, [avatar(inside=inside)]))
    assert np.abs(made[-1, 20].astype(int) - PERSON).max() <= 2


def test_a_face_that_was_enlarged_is_set_back_small():
    photo = np.zeros((60, 60, 3), np.uint8)
    made = np.array(paste_back(photo, [avatar(((4, 0, -80), (0, 4, -80)))]))  # 10 px wide, at (20, 20)
    assert (made[:21] == 0).all()
    assert made[27, 25, 0] > 150
    assert (made[31:] == 0).all()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("ret", "square", None),
            r"background is 'ret'; allowed are .*, a colour \(#f4efe6, ivory\), and a picture's file",
        ),
        (("#12345678", "square", None), "background is '#12345678'"),
        (("#12345", "square", None), "background is '#12345'"),
        (("", "square", None), "background is ''"),
        (("keep", "oval", None), "shape is 'oval'; allowed are square and circle"),
        (("keep", "square", 15), "size is 15; allowed are 16 to 4096 pixels"),
        (("keep", "square", 4097), "size is 4097"),
    ],
)
def test_words_that_name_no_look_are_refused_with_what_is_allowed(words, told):
    with pytest.raises(FinishError, match=told):
        Finish.of(*words)


def test_a_look_that_is_made_in_python_is_held_to_the_same():
    calls = {
        "Look('nope')": "background is 'nope'; allowed are transparent, keep, (red, green, blue) of 0 to 255,",
        "Look((300, 0, 0))": "background is (300, 0, 0); allowed are",
        "Look((0, 0))": "background is (0, 0); allowed are",
        "Look(shape='star')": "shape is 'star'; allowed are square and circle",
        "Look(size_px=5000)": "size is 5000; allowed are 16 to 4096 pixels",
    }
    program = (  # a process of its own: here, types are checked before
        "import sys\nfrom portraitist.look import Look, LookError\n"
        "for call in sys.argv[1:]:\n    try:\n        eval(call)\n    except LookError as error:\n        print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", program, *calls]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(said) == len(calls)
    assert all(line.startswith(told) for line, told in zip(said, calls.values(), strict=True))


def test_words_name_a_look(tmp_path):
    Image.new("RGB", (30, 30), (1, 2, 3)).save(tmp_path / "sea.png")
    assert Finish.of("#0aC81e", "circle", 99) == Finish((10, 200, 30), "circle", 99)
    assert Finish.of("#0cf", "square", None) == Finish((0, 204, 255))
    assert Finish.of("Ivory", "square", None) == Finish((255, 255, 240))
    assert Finish.of("keep", "square", None) == Finish("keep")
    assert Finish.of(str(tmp_path / "sea.png"), "square", None).background.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_a_file_opens_as_what_it_is_and_holds_no_metadata(form):
    data = encode_avatar(apply_finish(avatar(), Finish((9, 8, 7))), form)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == (form, (SIDE, SIDE))
        assert not opened.getexif()
        assert not {"exif", "xmp", "icc_profile", "comment"} & set(opened.info)


def test_jpeg_refuses_what_is_transparent():
    with pytest.raises(FinishError, match=r"JPEG holds nothing transparent; write \.png or \.webp"):
        encode_avatar(apply_finish(avatar(), Finish()), "JPEG")


@pytest.mark.parametrize("shape", ["square", "circle"])
@pytest.mark.parametrize("background", ["transparent", "keep", (9, 8, 7)])
def test_a_look_is_known_beforehand_to_be_none_for_jpeg(background, shape):
    look = Finish(background, shape)
    look.check("PNG")
    if apply_finish(avatar(), look).mode == "RGB":
        look.check("JPEG")
    else:
        told = "a circle's corners are" if shape == "circle" else "give a background"
        with pytest.raises(FinishError, match=told):
            look.check("JPEG")


def test_a_background_that_is_no_picture_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(FinishError, match=rf"background {tmp_path}/text\.jpg: not a picture that opens as one of JPEG"):
        Finish.of(str(tmp_path / "text.jpg"), "square", None)


def test_pasting_a_real_selfies_avatar_back_changes_the_person_and_little_else(model, sample):
    portraitist = Portraitist.open(model)
    path = sample / "selfies" / "0006.jpg"
    with Image.open(path) as opened:
        photo = np.array(opened.convert("RGB"))
    made = portraitist.paint(path)
    changed = np.abs(np.array(paste_back(photo, [made])).astype(int) - photo).max(axis=2)
    x, y = (round(float(value)) for value in made.landmarks[2])
    assert changed[y - 4 : y + 4, x - 4 : x + 4].mean() > 10
    assert changed[:10, :10].max() == 0
