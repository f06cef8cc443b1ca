import io
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from toys import ROOT

from portraitist.app.avatar import Avatar, Portraitist
from portraitist.app.compositing import Finish, FinishError, apply_finish, encode_avatar, paste_back
from portraitist.app.framing import whole_crop
from portraitist.core.blend import alpha_composite, extend_foreground
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

SIDE = 40
ORIGINAL, PERSON = (120, 60, 90), (200, 90, 40)


def avatar(transform=((1, 0, 0), (0, 1, 0)), inside=None):
    """A painted person of one colour with a soft left edge, whose photo has another colour and a green background."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[8:, 14:30] = 255
    mask[8:, 12:14] = 128
    isolated, painting = (np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in (ORIGINAL, PERSON))
    picture = alpha_composite(isolated, mask, (0, 255, 0))
    inside = np.full((SIDE, SIDE), 255, np.uint8) if inside is None else inside
    return avatar_of(picture, mask, inside, transform, isolated, painting)


def avatar_of(picture, mask, inside, transform=((1, 0, 0), (0, 1, 0)), isolated=None, painting=None):
    face = Face(1.0, (0.0, 0.0, 1.0, 1.0), np.zeros((6, 2), np.float32))
    crop = Crop(CropImage(picture, None, inside), face, np.array(transform, np.float32))
    isolated, painting = (picture if each is None else each for each in (isolated, painting))
    return Avatar(isolated, painting, mask, crop, whole_crop(crop), picture.shape[0])


def test_transparent_avatar_shows_the_painting_and_not_the_photo():
    pixels = np.array(apply_finish(avatar(), Finish("transparent")))
    assert np.array_equal(pixels[..., 3], avatar().cutout)
    assert np.array_equal(pixels[..., :3], avatar().painting)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (255, 0, 0)])
def test_soft_edge_blends_person_and_background_colour(colour):
    pixels = np.array(apply_finish(avatar(), Finish(colour))).astype(int)
    assert (pixels[:8] == colour).all()
    assert np.abs(pixels[20, 20] - PERSON).max() <= 2
    assert np.abs(pixels[20, 12] - (np.array(PERSON) * 128 + np.array(colour) * 127) / 255).max() <= 6


def test_keep_leaves_the_photos_background():
    kept, mask = np.array(apply_finish(avatar(), Finish("keep"))), avatar().cutout
    assert np.array_equal(kept[mask == 0], avatar().crop.square.picture[mask == 0])
    assert (kept[mask == 255] == PERSON).all()
    expected = alpha_composite(avatar().painting, mask, (0, 255, 0))
    assert np.abs(kept[mask == 128].astype(int) - expected[mask == 128]).max() <= 1


def test_narrow_strip_beyond_the_photo_continues_only_what_touches_the_border():
    inside = np.full((200, 200), 255, np.uint8)
    inside[197:] = 0
    mask = np.zeros((200, 200), np.uint8)
    mask[100:197, 50:100] = 255  # touches the photo's border
    mask[100:194, 120:160] = 255  # ends in the photo
    picture = np.full((200, 200, 3), PERSON, np.uint8)
    shown = avatar_of(picture, mask, inside).mask
    assert np.array_equal(shown[197:], np.tile(mask[196], (3, 1)))
    assert np.array_equal(shown[:197], mask[:197])


def test_background_excludes_person_transparent_and_missing_parts():
    shown = avatar().background
    assert (shown[:, :10] == 255).all()
    assert not shown[10:, 14:30].any()
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    inside[:, :5] = 0
    assert not avatar(inside=inside).background[:, :4].any()
    square = avatar().crop.square
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    alpha[:6, :6] = 0
    crop = replace(avatar().crop, square=replace(square, alpha=alpha))
    transparent = replace(avatar(), crop=crop).background
    assert not transparent[:5, :5].any()
    assert (transparent[8:, :10] == 255).all()


def test_background_picture_is_centre_cropped_and_scaled():
    background = Image.new("RGB", (3 * SIDE, SIDE), "blue")
    background.paste("yellow", (SIDE, 0, 2 * SIDE, SIDE))
    pixels = np.array(apply_finish(avatar(), Finish(background, size_px=2 * SIDE)))
    assert pixels.shape == (2 * SIDE, 2 * SIDE, 3)
    assert (pixels[:9, 8:-8] == (255, 255, 0)).all()


def test_circle_has_transparent_corners():
    alpha = np.array(apply_finish(avatar(), Finish((1, 2, 3), "circle", 64)))[..., 3]
    assert alpha[32].min() == 255
    assert alpha[[0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [0] * 4
    assert (alpha / 255).mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert ((alpha > 0) & (alpha < 255)).sum() > 60


def test_extended_foreground_takes_the_nearest_colours():
    picture = np.full((20, 100, 3), (0, 255, 0), np.uint8)
    mask = np.zeros((20, 100), np.uint8)
    picture[:, :20], picture[:, 80:] = (200, 10, 0), (0, 10, 200)
    picture[:, 20] = (100, 130, 0)
    mask[:, :20] = mask[:, 80:] = 255
    mask[:, 20] = 254
    extended = extend_foreground(picture, mask).astype(int)
    assert np.array_equal(extended[mask == 255], picture[mask == 255])
    assert np.abs(extended[:, 20:30] - (200, 10, 0)).max() <= 1
    assert np.abs(extended[:, 70:80] - (0, 10, 200)).max() <= 1
    assert np.array_equal(extend_foreground(picture, mask // 2), picture)


def test_backdrop_replaces_the_background():
    pixels = np.array(apply_finish(avatar(), Finish())).astype(int)
    assert pixels.shape == (SIDE, SIDE, 3)
    assert np.abs(pixels[20, 20] - PERSON).max() <= 2
    red, green, blue = pixels[:4].reshape(-1, 3).T
    assert (green > np.maximum(red, blue)).all()  # a muted colour of the photo's green background
    assert (green - np.minimum(red, blue)).max() < 60


def test_avatar_is_saved_in_the_format_of_its_suffix(tmp_path):
    for name, mode in (("a.png", "RGB"), ("a.webp", "RGB"), ("a.jpg", "RGB")):
        avatar().save(tmp_path / name)
        with Image.open(tmp_path / name) as saved:
            assert (saved.size, saved.mode) == ((SIDE, SIDE), mode)
    avatar().save(str(tmp_path / "a.png"), background="transparent", shape="circle", size_px=64)
    with Image.open(tmp_path / "a.png") as saved:
        assert (saved.size, saved.mode) == ((64, 64), "RGBA")
    avatar().save(tmp_path / "b.png", background=(1, 2, 3))
    with Image.open(tmp_path / "b.png") as saved:
        assert saved.getpixel((0, 0)) == (1, 2, 3)
    avatar().save(tmp_path / "c.png", background=tmp_path / "b.png")
    with Image.open(tmp_path / "c.png") as saved:
        assert saved.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["hidden colours", "sideways"])
def test_background_picture_is_read_like_its_file(tmp_path, kind):
    pixels = np.full((40, 60, 4), (250, 10, 10, 255), np.uint8)
    pixels[:, :30, 3] = 0 if kind == "hidden colours" else 255
    pixels[:, :30, 1] = 200
    exif = Image.Exif()
    exif[0x0112] = 6 if kind == "sideways" else 1
    Image.fromarray(pixels).save(tmp_path / "back.png", exif=exif)
    with Image.open(tmp_path / "back.png") as back:
        avatar().save(tmp_path / "a.png", background=back)
    avatar().save(tmp_path / "b.png", background=tmp_path / "back.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with pytest.raises(FinishError, match=r"the background picture: .*at least"):
        avatar().save(tmp_path / "a.png", background=Image.new("RGB", (3, 3)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.gif", {}, r"suffix '\.gif' is not supported; allowed are \.png"),
        ("a.jpg", {"background": "transparent"}, "JPEG has no transparency"),
        ("a.png", {"shape": "star"}, "shape is 'star'"),
    ],
)
def test_avatar_that_cannot_be_saved_is_an_error(tmp_path, name, options, message):
    with pytest.raises(FinishError, match=message):
        avatar().save(tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_paste_back_changes_only_the_person():
    photo = np.full((120, 160, 3), ORIGINAL, np.uint8)
    pasted = np.array(
        paste_back(photo, [avatar(((0.5, 0, -20), (0, 0.5, -10)))])
    )  # crop at (40, 20), twice as large in the photo
    assert pasted.shape == photo.shape
    assert np.abs(pasted[20 + 2 * 20, 40 + 2 * 22].astype(int) - PERSON).max() <= 2
    assert (pasted[:, :60] == ORIGINAL).all()
    assert (pasted[:31] == ORIGINAL).all()
    bottom = pasted[98:102, 84].astype(int)  # the crop ends at row 100, inside the photo: no hard edge
    assert np.abs(np.diff(bottom, axis=0)).max() < 60


def test_person_cut_off_by_the_photo_is_not_faded():
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    inside[36:] = 0
    photo = np.full((36, SIDE, 3), ORIGINAL, np.uint8)
    pasted = np.array(paste_back(photo, [avatar(inside=inside)]))
    assert np.abs(pasted[-1, 20].astype(int) - PERSON).max() <= 2


def test_enlarged_face_is_pasted_back_at_its_size():
    photo = np.full((60, 60, 3), ORIGINAL, np.uint8)
    pasted = np.array(paste_back(photo, [avatar(((4, 0, -80), (0, 4, -80)))]))  # 10 px wide, at (20, 20)
    assert (pasted[:21] == ORIGINAL).all()
    assert pasted[27, 25, 0] > 150
    assert (pasted[31:] == ORIGINAL).all()


def test_person_that_two_avatars_contain_is_painted_once():
    photo = np.full((120, 160, 3), ORIGINAL, np.uint8)
    once, twice = (np.array(paste_back(photo, count * [avatar(((0.5, 0, -20), (0, 0.5, -10)))])) for count in (1, 2))
    opaque = (once == PERSON).all(axis=-1)
    assert opaque.sum() > 500
    assert np.array_equal(twice[opaque], once[opaque])
    assert twice[..., 0].max() == PERSON[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("ret", "square", None),
            r"background is 'ret'; allowed are .*#f4efe6.* path",
        ),
        (("#12345678", "square", None), "background is '#12345678'"),
        (("#12345", "square", None), "background is '#12345'"),
        (("", "square", None), "background is ''"),
        (("keep", "oval", None), "shape is 'oval'; allowed are square and circle"),
        (("keep", "square", 15), "size is 15; allowed are 16 to 4096 pixels"),
        (("keep", "square", 4097), "size is 4097"),
    ],
)
def test_invalid_finish_options_are_rejected(options, message):
    with pytest.raises(FinishError, match=message):
        Finish.parse(*options, allow_files=True)


def test_finish_validates_values_from_python():
    calls = {
        "Finish('nope')": "background is 'nope'; allowed are backdrop, transparent, keep, (red, green, blue)",
        "Finish((300, 0, 0))": "background is (300, 0, 0); allowed are",
        "Finish((0, 0))": "background is (0, 0); allowed are",
        "Finish(shape='star')": "shape is 'star'; allowed are square and circle",
        "Finish(size_px=5000)": "size is 5000; allowed are 16 to 4096 pixels",
    }
    program = (  # in a process without the type checks that the tests install
        "import sys\nfrom portraitist.app.compositing import Finish, FinishError\n"
        "for call in sys.argv[1:]:\n    try:\n        eval(call)\n"
        "    except FinishError as error:\n        print(error)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", program, *calls]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    for line, message in zip(output.splitlines(), calls.values(), strict=True):
        assert line.startswith(message)


def test_files_are_read_only_if_allowed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("#x.jpg", "x.jpg"):
        Image.new("RGB", (30, 30)).save(tmp_path / name)
        with pytest.raises(FinishError, match=name):
            Finish.parse(name, "square", None)
        assert isinstance(Finish.parse(name, "square", None, allow_files=True).background, Image.Image)


def test_finish_options_are_parsed(tmp_path):
    Image.new("RGB", (30, 30), (1, 2, 3)).save(tmp_path / "sea.png")
    assert Finish.parse("#0aC81e", "circle", 99) == Finish((10, 200, 30), "circle", 99)
    assert Finish.parse("#0cf", "square", None) == Finish((0, 204, 255))
    assert Finish.parse("Ivory", "square", None) == Finish((255, 255, 240))
    assert Finish.parse("keep", "square", None) == Finish("keep")
    assert Finish.parse(str(tmp_path / "sea.png"), "square", None, allow_files=True).background.getpixel((0, 0)) == (
        1,
        2,
        3,
    )


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_encoded_file_has_no_metadata(form):
    data = encode_avatar(apply_finish(avatar(), Finish((9, 8, 7))), form)
    with Image.open(io.BytesIO(data)) as opened:
        assert (opened.format, opened.size) == (form, (SIDE, SIDE))
        assert not opened.getexif()
        assert not {"exif", "xmp", "icc_profile", "comment"} & set(opened.info)


def test_jpeg_rejects_transparency():
    with pytest.raises(FinishError, match=r"JPEG .* \.png"):
        encode_avatar(apply_finish(avatar(), Finish("transparent")), "JPEG")


@pytest.mark.parametrize("shape", ["square", "circle"])
@pytest.mark.parametrize("background", ["backdrop", "transparent", "keep", (9, 8, 7)])
def test_check_agrees_with_the_jpeg_encoder(background, shape):
    finish = Finish(background, shape)
    finish.check("PNG")
    if apply_finish(avatar(), finish).mode == "RGB":
        finish.check("JPEG")
    else:
        option = "--shape circle" if shape == "circle" else "--background"
        with pytest.raises(FinishError, match=option):
            finish.check("JPEG")


def test_unreadable_background_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(FinishError, match=rf"background {tmp_path}/text\.jpg: not a picture"):
        Finish.parse(str(tmp_path / "text.jpg"), "square", None, allow_files=True)


def test_paste_back_of_a_selfie_keeps_its_corner(model, sample):
    portraitist = Portraitist(model)
    path = sample / "selfies" / "0006.jpg"
    with Image.open(path) as opened:
        photo = np.array(opened.convert("RGB"))
    avatar = portraitist.paint(path)
    changed = np.abs(np.array(paste_back(photo, [avatar])).astype(int) - photo).max(axis=2)
    x, y = (round(float(value)) for value in avatar.landmarks[2])
    assert changed[y - 4 : y + 4, x - 4 : x + 4].mean() > 10
    assert changed[:10, :10].max() == 0
