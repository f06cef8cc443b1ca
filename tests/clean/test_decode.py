import io
import random
import struct
import zlib

import numpy as np
import pytest
from drawn import CLEAN, changed, encoded, smooth
from PIL import GifImagePlugin, Image, ImageCms

from portraitist.clean.decode import CleanPicture, RejectedError, clean_picture, decode_picture, difference_hash
from portraitist.core.outcome import Status

ORIENTATION, GPS, MAKE = 0x0112, 0x8825, 0x010F
STORED = {  # EXIF 2.3, tag Orientation: how an upright picture lies in a file of that orientation
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def verdict_on(data: bytes, **bounds: float) -> Status:
    with pytest.raises(RejectedError) as refused:
        decode_picture(data, **bounds)
    return refused.value.status


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and whose pixels are rubbish."""
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"rubbish"), (b"IEND", b"")
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("orientation", STORED)
def test_pictures_stand_upright_whatever_way_the_camera_was_held(orientation: int):
    upright, exif = smooth(1), Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    assert np.array_equal(decode_picture(encoded(stored, "PNG", exif=exif)).picture, upright)


def test_a_turned_picture_takes_its_alpha_along():
    picture, exif = np.dstack([smooth(1), smooth(2)[..., 0]]), Image.Exif()
    exif[ORIENTATION] = 6
    found = decode_picture(encoded(np.ascontiguousarray(STORED[6](picture)), "PNG", exif=exif))
    assert np.array_equal(np.dstack([found.picture, found.alpha]), picture)


def test_sixteen_bits_become_the_eight_upper_ones():
    deep = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    picture = decode_picture(encoded(Image.fromarray(deep), "PNG")).picture
    assert picture.shape == (40, 56, 3)
    assert abs(picture.astype(int) - (deep / 257)[..., None]).max() <= 1


def test_cmyk_becomes_rgb():
    inks = np.zeros((32, 48, 4), np.uint8)
    inks[:, :24, 1:3] = 255  # magenta and yellow: red
    inks[:, 24:, 0] = 255  # cyan
    picture = decode_picture(encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)).picture
    assert abs(picture[:, 4:20].astype(int) - [255, 0, 0]).max() < 20
    assert abs(picture[:, 28:44].astype(int) - [0, 255, 255]).max() < 20


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_a_palette_keeps_its_colours_and_its_hole(form: str):
    indexed = Image.fromarray(np.repeat([[0, 1, 2]], 20, axis=0).repeat(10, axis=1).astype(np.uint8), "P")
    indexed.putpalette([250, 10, 20, 30, 240, 50, 60, 70, 230])
    found = decode_picture(encoded(indexed, form, transparency=1))
    assert found.picture[:, :10].reshape(-1, 3).tolist() == [[250, 10, 20]] * 200
    assert found.picture[:, 20:].reshape(-1, 3).tolist() == [[60, 70, 230]] * 200
    assert found.alpha is not None
    assert found.alpha[3].tolist() == [255] * 10 + [0] * 10 + [255] * 10


def test_a_palette_is_scaled_as_the_colours_that_it_stands_for():
    fine = Image.fromarray((np.indices((128, 256)).sum(axis=0) % 2).astype(np.uint8), "P")
    fine.putpalette([0, 0, 0, 200, 100, 50])
    picture = decode_picture(encoded(fine, "PNG"), max_side_px=64).picture
    assert picture.shape == (32, 64, 3)
    assert abs(picture[4:-4, 4:-4].astype(int) - [100, 50, 25]).max() <= 3  # neither of the two


def test_exif_that_is_broken_loses_no_picture():
    for exif in (
        b"Exif\x00\x00nonsense",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x7f\xff",
    ):
        assert np.array_equal(decode_picture(encoded(smooth(1), "PNG", exif=exif)).picture, smooth(1))


def test_a_film_is_told_by_its_second_frame_and_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch):
    data = encoded(
        Image.fromarray(smooth(1)),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(smooth(n)) for n in range(2, 30)],
    )
    sought = []
    seek = GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile,
        "_seek",
        lambda self, frame, *more: (sought.append(frame), seek(self, frame, *more))[1],
    )
    assert verdict_on(data) is Status.ANIMATED
    assert max(sought) <= 1


def test_more_bytes_than_allowed_are_not_looked_at():
    assert verdict_on(bytes(1_000_001), max_megabytes=1.0) is Status.TOO_LARGE
    assert verdict_on(bytes(1_000_000), max_megabytes=1.0) is Status.NOT_A_PICTURE


@pytest.mark.parametrize("mode", ["I", "F"])
def test_a_range_is_told_by_the_largest_value(mode: str):
    shades = np.linspace(0, 1, 40 * 56).reshape(40, 56)
    for white in (255, 65535) if mode == "I" else (1, 255, 65535):
        deep = Image.fromarray((shades * white).astype(np.int32 if mode == "I" else np.float32))
        picture = decode_picture(encoded(deep, "TIFF")).picture
        assert abs(picture.astype(int) - (shades * 255)[..., None]).max() <= 1


def test_grey_and_bilevel_become_three_equal_channels():
    grey = smooth(1)[..., 0]
    assert np.array_equal(decode_picture(encoded(grey, "PNG")).picture, np.dstack([grey] * 3))
    assert set(np.unique(decode_picture(encoded(Image.fromarray(grey > 99), "PNG")).picture)) == {0, 255}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_brought_to_srgb_by_the_pictures_profile(mode: str):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tXYZ", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tXYZ", b"gXYZ", 1)
    pixels = np.full((20, 30, 4), (200, 30, 60, 90), np.uint8)[..., : len(mode)]
    found = decode_picture(encoded(pixels, "PNG", icc_profile=swapped))
    assert abs(found.picture.astype(int) - [30, 200, 60]).max() <= 2
    assert (found.alpha is None) == (mode == "RGB")
    assert abs(decode_picture(encoded(pixels, "PNG", icc_profile=srgb)).picture.astype(int) - [200, 30, 60]).max() <= 1


def test_a_profile_that_cannot_be_read_loses_no_picture():
    assert np.array_equal(decode_picture(encoded(smooth(1), "PNG", icc_profile=b"no profile" * 20)).picture, smooth(1))


def test_alpha_is_kept_apart_and_what_it_hides_stays():
    picture, alpha = smooth(1), smooth(2)[..., 0]
    found = decode_picture(encoded(np.dstack([picture, alpha]), "PNG"))
    assert found.alpha is not None
    assert np.array_equal(found.alpha, alpha)
    assert np.array_equal(found.picture, picture)


def test_an_alpha_that_hides_nothing_is_none():
    assert decode_picture(encoded(np.dstack([smooth(1), np.full((40, 56), 255, np.uint8)]), "PNG")).alpha is None
    assert decode_picture(encoded(smooth(1), "PNG")).alpha is None


def test_more_than_one_frame_is_animated():
    frames = [Image.fromarray(smooth(seed)) for seed in (1, 2)]
    for form in ("GIF", "PNG", "WEBP"):
        assert verdict_on(encoded(frames[0], form, save_all=True, append_images=frames[1:])) is Status.ANIMATED


def test_a_phones_second_picture_is_left_aside():
    first, second = (Image.fromarray(smooth(seed)) for seed in (1, 2))
    data = encoded(first, "MPO", save_all=True, append_images=[second])
    assert abs(decode_picture(data).picture.astype(int) - smooth(1)).mean() < 6


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF"])
def test_half_a_file_is_unreadable(form: str):
    data = encoded(np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8), form)
    assert decode_picture(data).picture.shape == (40, 56, 3)
    assert verdict_on(data[: len(data) // 2]) is Status.UNREADABLE


@pytest.mark.parametrize(
    "data", [b"", b"Dear Sir or Madam, ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8"]
)
def test_what_is_no_picture_is_called_so(data: bytes):
    with pytest.raises(RejectedError, match="one of JPEG, PNG") as refused:
        decode_picture(data)
    assert refused.value.status is Status.NOT_A_PICTURE


@pytest.mark.parametrize("form", ["ICO", "PPM", "PDF"])
def test_other_formats_are_not_opened(form: str):
    assert verdict_on(encoded(smooth(1), form)) is Status.NOT_A_PICTURE


@pytest.mark.parametrize("side", [7100, 60000])  # the second is one that Pillow itself calls a bomb
def test_huge_pictures_are_refused_before_they_are_decoded(side: int):
    assert verdict_on(png_of_size(side, side), max_megapixels=50.0) is Status.TOO_LARGE
    assert verdict_on(png_of_size(64, 64), max_megapixels=50.0) is Status.UNREADABLE  # so the size came first


def test_the_bounds_are_themselves_allowed():
    data = encoded(smooth(1, 40, 50), "PNG")
    assert decode_picture(data, max_megapixels=0.002, min_side_px=40).picture.shape == (40, 50, 3)
    assert verdict_on(data, max_megapixels=0.0019) is Status.TOO_LARGE
    assert verdict_on(data, min_side_px=41) is Status.TOO_SMALL


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_large_picture_is_scaled_down_and_keeps_its_shape(form: str):
    picture = clean_picture(encoded(smooth(1, 120, 240), form), changed(CLEAN, max_side_px=64)).picture
    assert picture.shape == (32, 64, 3)
    assert abs(picture.astype(int) - smooth(1, 32, 64)).mean() < 8


def test_the_stages_own_bounds_hold():
    data = encoded(smooth(1, 40, 56), "PNG")
    assert clean_picture(data, CLEAN).picture.shape == (40, 56, 3)
    for bounds, status in (({"min_side_px": 48}, "too_small"), ({"max_megapixels": 0.001}, "too_large")):
        with pytest.raises(RejectedError) as refused:
            clean_picture(data, changed(CLEAN, **bounds))
        assert refused.value.status.value == status


def test_nothing_of_exif_gps_or_text_is_stored():
    plain, exif, secret = encoded(smooth(1), "JPEG", quality=90), Image.Exif(), b"SECRET-CAMERA"
    exif[MAKE] = secret.decode()
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0)}
    told = encoded(smooth(1), "JPEG", quality=90, exif=exif, comment=secret, icc_profile=None)
    assert secret in told
    assert b"Exif" in told
    assert decode_picture(told).members() == decode_picture(plain).members()
    for data in decode_picture(told).members().values():
        assert Image.open(io.BytesIO(data)).info == {}
        assert not any(word in data for word in (secret, b"Exif", b"eXIf", b"tEXt", b"iTXt"))


def test_members_hold_all_of_a_picture():
    for alpha in (None, smooth(2)[..., 0]):
        back = CleanPicture.from_members(CleanPicture(smooth(1), alpha).members())
        assert np.array_equal(back.picture, smooth(1))
        assert (back.alpha is None) if alpha is None else np.array_equal(back.alpha, alpha)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_broken_bytes_are_refused_and_raise_nothing_else(form: str):
    frames, exif = [Image.fromarray(smooth(seed)) for seed in (1, 2)], Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "maker"
    several = {} if form == "JPEG" else {"save_all": True, "append_images": frames[1:]}
    data, rng, refused = encoded(frames[0], form, exif=exif, **several), random.Random(1), 0
    for _ in range(150):
        broken = bytearray(data[: rng.choice([len(data), rng.randrange(len(data))])])
        for _ in range(min(3, len(broken))):
            broken[rng.randrange(min(len(broken), rng.choice([80, 400])))] = rng.randrange(256)
        try:
            decode_picture(bytes(broken))
        except RejectedError:
            refused += 1
    assert refused > 20


def test_a_film_that_is_cut_off_anywhere_is_refused_and_raises_nothing_else():
    frames = [Image.fromarray(smooth(seed, 16, 20)[..., 0] // 128 * 255) for seed in (1, 2)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    statuses = set()
    for length in range(len(data)):
        try:
            decode_picture(data[:length])
        except RejectedError as refused:
            statuses.add(refused.status)
    assert statuses == {Status.NOT_A_PICTURE, Status.UNREADABLE, Status.ANIMATED}


def test_a_slope_to_the_right_is_all_ones_and_to_the_left_all_zeros():
    slope = np.tile(np.arange(72, dtype=np.uint8)[None, :, None] * 3, (64, 1, 3))
    assert difference_hash(CleanPicture(slope, None)) == 2**64 - 1
    assert difference_hash(CleanPicture(np.ascontiguousarray(slope[:, ::-1]), None)) == 0


def test_a_hash_is_near_for_a_copy_and_far_for_another_picture():
    picture = smooth(1, 96, 128)
    hashed = difference_hash(CleanPicture(picture, None))
    smaller = np.array(Image.fromarray(picture).resize((90, 67), Image.Resampling.LANCZOS))
    copies = [smaller, decode_picture(encoded(picture, "JPEG", quality=40)).picture, (picture * 0.8).astype(np.uint8)]
    assert all((hashed ^ difference_hash(CleanPicture(copy, None))).bit_count() <= 2 for copy in copies)
    assert all(
        (hashed ^ difference_hash(CleanPicture(smooth(seed, 96, 128), None))).bit_count() > 15 for seed in (2, 3, 4)
    )


def test_a_hash_does_not_see_what_the_alpha_hides():
    alpha = np.zeros((40, 56), np.uint8)
    alpha[8:30, 20:50] = 255
    other = np.where(alpha[..., None] > 0, smooth(1), smooth(2))
    assert difference_hash(CleanPicture(smooth(1), alpha)) == difference_hash(CleanPicture(other, alpha))
    assert difference_hash(CleanPicture(smooth(1), None)) != difference_hash(CleanPicture(other, None))
