import io
import random
import re
import struct
import time
import tracemalloc
import zlib

import numpy as np
import pillow_heif
import pytest
from drawn import encoded, smooth
from PIL import GifImagePlugin, Image, ImageCms
from scratch_jpeg import progressive_jpeg

from portraitist.clean.decode import (
    FORMATS,
    CleanPicture,
    RejectedError,
    check_dimensions,
    decode_picture,
    difference_hash,
)
from portraitist.core.outcome import Status

ORIENTATION, GPS, MAKE = 0x0112, 0x8825, 0x010F
STORED = {  # EXIF 2.3, tag Orientation: how a file of that orientation stores an upright picture
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def rejection(data: bytes, **limits: object) -> RejectedError:
    with pytest.raises(RejectedError) as rejected:
        decode_picture(data, **limits)
    return rejected.value


def status_of(data: bytes, **limits: object) -> Status:
    return rejection(data, **limits).status


def png_of_size(width: int, height: int) -> bytes:
    """A PNG whose header has these dimensions, and whose pixel data is invalid."""
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"invalid"), (b"IEND", b"")
    packed = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("orientation", STORED)
def test_picture_is_upright_for_every_exif_orientation(orientation: int):
    upright, exif = smooth(1), Image.Exif()
    exif[ORIENTATION] = orientation
    stored = np.ascontiguousarray(STORED[orientation](upright))
    assert np.array_equal(decode_picture(encoded(stored, "PNG", exif=exif)).picture, upright)


def test_alpha_is_rotated_with_its_picture():
    picture, exif = np.dstack([smooth(1), smooth(2)[..., 0]]), Image.Exif()
    exif[ORIENTATION] = 6
    decoded = decode_picture(encoded(np.ascontiguousarray(STORED[6](picture)), "PNG", exif=exif))
    assert np.array_equal(np.dstack([decoded.picture, decoded.alpha]), picture)


def test_sixteen_bits_are_scaled_to_eight():
    deep = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    picture = decode_picture(encoded(Image.fromarray(deep), "PNG")).picture
    assert picture.shape == (40, 56, 3)
    assert abs(picture.astype(int) - (deep / 257)[..., None]).max() <= 1


def test_cmyk_is_converted_to_rgb():
    inks = np.zeros((32, 48, 4), np.uint8)
    inks[:, :24, 1:3] = 255  # magenta and yellow are red
    inks[:, 24:, 0] = 255  # cyan
    picture = decode_picture(encoded(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)).picture
    assert abs(picture[:, 4:20].astype(int) - [255, 0, 0]).max() < 20
    assert abs(picture[:, 28:44].astype(int) - [0, 255, 255]).max() < 20


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palette_keeps_colours_and_transparency(form: str):
    indexed = Image.fromarray(np.repeat([[0, 1, 2]], 20, axis=0).repeat(10, axis=1).astype(np.uint8), "P")
    indexed.putpalette([250, 10, 20, 30, 240, 50, 60, 70, 230])
    decoded = decode_picture(encoded(indexed, form, transparency=1))
    assert decoded.picture[:, :10].reshape(-1, 3).tolist() == [[250, 10, 20]] * 200
    assert decoded.picture[:, 20:].reshape(-1, 3).tolist() == [[60, 70, 230]] * 200
    assert decoded.alpha is not None
    assert decoded.alpha[3].tolist() == [255] * 10 + [0] * 10 + [255] * 10


def test_palette_is_converted_before_scaling():
    fine = Image.fromarray((np.indices((128, 256)).sum(axis=0) % 2).astype(np.uint8), "P")
    fine.putpalette([0, 0, 0, 200, 100, 50])
    picture = decode_picture(encoded(fine, "PNG"), max_side_px=64).picture
    assert picture.shape == (32, 64, 3)
    assert abs(picture[4:-4, 4:-4].astype(int) - [100, 50, 25]).max() <= 3  # the mean of the two colours of the palette


def test_broken_exif_does_not_reject_picture():
    for exif in (
        b"Exif\x00\x00nonsense",
        b"Exif\x00\x00II*\x00\xff\xff\xff\xff",
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x7f\xff",
    ):
        assert np.array_equal(decode_picture(encoded(smooth(1), "PNG", exif=exif)).picture, smooth(1))


def test_animation_is_detected_by_its_second_frame(monkeypatch: pytest.MonkeyPatch):
    data = encoded(
        Image.fromarray(smooth(1)),
        "GIF",
        save_all=True,
        append_images=[Image.fromarray(smooth(n)) for n in range(2, 30)],
    )
    frames = []
    seek = GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile,
        "_seek",
        lambda self, frame, *more: (frames.append(frame), seek(self, frame, *more))[1],
    )
    assert status_of(data) is Status.ANIMATED
    assert max(frames) <= 1


def test_file_above_max_megabytes_is_not_opened():
    assert status_of(bytes(1_000_001), max_megabytes=1.0) is Status.TOO_LARGE
    assert status_of(bytes(1_000_000), max_megabytes=1.0) is Status.NOT_A_PICTURE


@pytest.mark.parametrize("mode", ["I", "F"])
def test_value_range_is_derived_from_maximum(mode: str):
    levels = np.linspace(0, 1, 40 * 56).reshape(40, 56)
    for white in (255, 65535) if mode == "I" else (1, 255, 65535):
        deep = Image.fromarray((levels * white).astype(np.int32 if mode == "I" else np.float32))
        picture = decode_picture(encoded(deep, "TIFF")).picture
        assert abs(picture.astype(int) - (levels * 255)[..., None]).max() <= 1


def test_grey_and_bilevel_give_three_equal_channels():
    grey = smooth(1)[..., 0]
    assert np.array_equal(decode_picture(encoded(grey, "PNG")).picture, np.dstack([grey] * 3))
    assert set(np.unique(decode_picture(encoded(Image.fromarray(grey > 99), "PNG")).picture)) == {0, 255}


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_are_converted_to_srgb_by_icc_profile(mode: str):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"tXYZ", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"tXYZ", b"gXYZ", 1)
    pixels = np.full((20, 30, 4), (200, 30, 60, 90), np.uint8)[..., : len(mode)]
    decoded = decode_picture(encoded(pixels, "PNG", icc_profile=swapped))
    assert abs(decoded.picture.astype(int) - [30, 200, 60]).max() <= 2
    assert (decoded.alpha is None) == (mode == "RGB")
    assert abs(decode_picture(encoded(pixels, "PNG", icc_profile=srgb)).picture.astype(int) - [200, 30, 60]).max() <= 1


def test_broken_icc_profile_does_not_reject_picture():
    assert np.array_equal(decode_picture(encoded(smooth(1), "PNG", icc_profile=b"no profile" * 20)).picture, smooth(1))


def test_alpha_is_separated_and_hidden_pixels_are_kept():
    picture, alpha = smooth(1), smooth(2)[..., 0]
    decoded = decode_picture(encoded(np.dstack([picture, alpha]), "PNG"))
    assert decoded.alpha is not None
    assert np.array_equal(decoded.alpha, alpha)
    assert np.array_equal(decoded.picture, picture)


def test_opaque_alpha_is_dropped():
    assert decode_picture(encoded(np.dstack([smooth(1), np.full((40, 56), 255, np.uint8)]), "PNG")).alpha is None
    assert decode_picture(encoded(smooth(1), "PNG")).alpha is None


def test_animations_are_rejected():
    frames = [Image.fromarray(smooth(seed)) for seed in (1, 2)]
    for form in ("GIF", "PNG", "WEBP", "AVIF"):
        data = encoded(frames[0], form, save_all=True, append_images=frames[1:])
        assert status_of(data, formats=(*FORMATS, "AVIF")) is Status.ANIMATED


@pytest.mark.parametrize("form", ["MPO", "TIFF"])
def test_second_picture_of_a_file_is_ignored(form: str):
    first, second = (Image.fromarray(smooth(seed)) for seed in (1, 2))
    data = encoded(first, form, save_all=True, append_images=[second])
    assert abs(decode_picture(data).picture.astype(int) - smooth(1)).mean() < 6


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF"])
def test_truncated_file_is_unreadable(form: str):
    data = encoded(np.random.default_rng(1).integers(0, 256, (40, 56, 3), dtype=np.uint8), form)
    assert decode_picture(data).picture.shape == (40, 56, 3)
    assert status_of(data[: len(data) // 2]) is Status.UNREADABLE


@pytest.mark.parametrize(
    "data", [b"", b"Dear Sir or Madam, ...", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8"]
)
def test_other_files_are_not_pictures(data: bytes):
    error = rejection(data)
    assert error.status is Status.NOT_A_PICTURE
    assert "JPEG, PNG, WEBP, BMP, TIFF, GIF" in str(error)


@pytest.mark.parametrize("form", ["ICO", "PPM", "PDF"])
def test_other_picture_formats_are_not_opened(form: str):
    assert status_of(encoded(smooth(1), form)) is Status.NOT_A_PICTURE


@pytest.mark.parametrize("side", [7100, 60000])  # for 60000, Pillow itself raises an error
def test_dimensions_are_checked_before_decoding(side: int):
    assert status_of(png_of_size(side, side), max_megapixels=50.0) is Status.TOO_LARGE
    # the damage is found only when decoding
    assert status_of(png_of_size(64, 64), max_megapixels=50.0) is Status.UNREADABLE


def test_limits_are_inclusive():
    data = encoded(smooth(1, 40, 50), "PNG")
    assert decode_picture(data, max_megapixels=0.002, min_side_px=40).picture.shape == (40, 50, 3)
    assert status_of(data, max_megapixels=0.0019) is Status.TOO_LARGE
    assert status_of(data, min_side_px=41) is Status.TOO_SMALL


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_large_picture_is_scaled_down_in_proportion(form: str):
    picture = decode_picture(encoded(smooth(1, 120, 240), form), 1.0, 16, max_side_px=64).picture
    assert picture.shape == (32, 64, 3)
    assert abs(picture.astype(int) - smooth(1, 32, 64)).mean() < 8


def test_no_metadata_is_stored():
    plain, exif, secret = encoded(smooth(1), "JPEG", quality=90), Image.Exif(), b"SECRET-CAMERA"
    exif[MAKE] = secret.decode()
    exif[GPS] = {1: "N", 2: (52.0, 31.0, 12.0)}
    tagged = encoded(smooth(1), "JPEG", quality=90, exif=exif, comment=secret, icc_profile=None)
    assert secret in tagged
    assert b"Exif" in tagged
    assert decode_picture(tagged).members() == decode_picture(plain).members()
    for data in decode_picture(tagged).members().values():
        assert Image.open(io.BytesIO(data)).info == {}
        assert not any(word in data for word in (secret, b"Exif", b"eXIf", b"tEXt", b"iTXt"))


def test_members_round_trip():
    for alpha in (None, smooth(2)[..., 0]):
        copy = CleanPicture.from_members(CleanPicture(smooth(1), alpha).members())
        assert np.array_equal(copy.picture, smooth(1))
        assert (copy.alpha is None) if alpha is None else np.array_equal(copy.alpha, alpha)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "WEBP"])
def test_corrupted_files_raise_only_rejected_error(form: str):
    frames, exif = [Image.fromarray(smooth(seed)) for seed in (1, 2)], Image.Exif()
    exif[ORIENTATION], exif[MAKE] = 6, "maker"
    several = {} if form == "JPEG" else {"save_all": True, "append_images": frames[1:]}
    data, rng, rejected = encoded(frames[0], form, exif=exif, **several), random.Random(1), 0
    for _ in range(150):
        broken = bytearray(data[: rng.choice([len(data), rng.randrange(len(data))])])
        for _ in range(min(3, len(broken))):
            broken[rng.randrange(min(len(broken), rng.choice([80, 400])))] = rng.randrange(256)
        try:
            decode_picture(bytes(broken))
        except RejectedError:
            rejected += 1
    assert rejected > 20


def test_animation_truncated_anywhere_is_rejected():
    frames = [Image.fromarray(smooth(seed, 16, 20)[..., 0] // 128 * 255) for seed in (1, 2)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    statuses = set()
    for length in range(len(data)):
        try:
            decode_picture(data[:length])
        except RejectedError as error:
            statuses.add(error.status)
    assert statuses == {Status.NOT_A_PICTURE, Status.UNREADABLE, Status.ANIMATED}


def test_hash_of_horizontal_gradient_is_all_ones_or_zeros():
    gradient = np.tile(np.arange(72, dtype=np.uint8)[None, :, None] * 3, (64, 1, 3))
    assert difference_hash(CleanPicture(gradient, None)) == 2**64 - 1
    assert difference_hash(CleanPicture(np.ascontiguousarray(gradient[:, ::-1]), None)) == 0


def test_hash_is_close_for_copies_and_far_for_others():
    picture = smooth(1, 96, 128)
    hashed = difference_hash(CleanPicture(picture, None))
    smaller = np.array(Image.fromarray(picture).resize((90, 67), Image.Resampling.LANCZOS))
    copies = [smaller, decode_picture(encoded(picture, "JPEG", quality=40)).picture, (picture * 0.8).astype(np.uint8)]
    assert all((hashed ^ difference_hash(CleanPicture(copy, None))).bit_count() <= 2 for copy in copies)
    assert all(
        (hashed ^ difference_hash(CleanPicture(smooth(seed, 96, 128), None))).bit_count() > 15 for seed in (2, 3, 4)
    )


def test_hash_ignores_transparent_pixels():
    alpha = np.zeros((40, 56), np.uint8)
    alpha[8:30, 20:50] = 255
    other = np.where(alpha[..., None] > 0, smooth(1), smooth(2))
    assert difference_hash(CleanPicture(smooth(1), alpha)) == difference_hash(CleanPicture(other, alpha))
    assert difference_hash(CleanPicture(smooth(1), None)) != difference_hash(CleanPicture(other, None))


# --- files as phones and other programs write them


def grey_jpeg(width: int, height: int, **options: object) -> bytes:
    return encoded(Image.new("L", (width, height), 90), "JPEG", **options)


@pytest.mark.parametrize(
    ("width", "height", "max_side_px"), [(8160, 6144, 1024), (8160, 6144, 8192), (12000, 9000, 2016)]
)
def test_jpeg_of_phone_camera_is_decoded_at_reduced_size(width: int, height: int, max_side_px: int):
    picture = decode_picture(grey_jpeg(width, height), max_side_px=max_side_px).picture
    assert picture.shape[0] * picture.shape[1] <= 50e6
    assert max(picture.shape) == min(max_side_px, width // 2)
    assert abs(picture.shape[1] / picture.shape[0] - width / height) < 0.01
    assert abs(int(picture[9, 9, 0]) - 90) <= 1


def test_larger_files_are_rejected_with_size_and_limit():
    error = rejection(grey_jpeg(12500, 10000), max_side_px=1024)
    assert error.status is Status.TOO_LARGE
    assert re.search("12500 x 10000 .* 120 megapixels", str(error))
    error = rejection(png_of_size(8160, 6144), max_side_px=1024)  # unlike JPEG, PNG cannot be decoded at reduced size
    assert error.status is Status.TOO_LARGE
    assert re.search("8160 x 6144 .* 50 megapixels", str(error))
    # even at an eighth of the side, the picture is too large
    error = rejection(grey_jpeg(1000, 1000), max_megapixels=0.015)
    assert error.status is Status.TOO_LARGE
    assert re.search(r"1000 x 1000 .* 0\.015 megapixels", str(error))
    assert decode_picture(grey_jpeg(1000, 1000), max_megapixels=0.016).picture.shape == (125, 125, 3)


def test_dimension_check_without_reduced_decoding_is_strict():
    picture = Image.open(io.BytesIO(grey_jpeg(1000, 1000)))
    check_dimensions(picture, 1.0, 16)
    with pytest.raises(RejectedError, match=r"1000 x 1000 .* 0\.9 megapixels"):
        check_dimensions(picture, 0.9, 16)


def test_primary_picture_of_heic_is_read():
    pillow_heif.register_heif_opener()
    file = pillow_heif.HeifFile()
    for seed in (1, 2, 3):
        file.add_from_pillow(Image.fromarray(smooth(seed, 96, 128)))
    buffer = io.BytesIO()
    file.save(buffer, primary_index=1, quality=90)
    picture = decode_picture(buffer.getvalue(), formats=(*FORMATS, "HEIF")).picture
    assert abs(picture.astype(int) - smooth(2, 96, 128)).mean() < 6


def test_gif_of_one_frame_is_a_still_picture():
    data = encoded(Image.fromarray(smooth(1)).quantize(64), "GIF", save_all=True, loop=0)
    assert b"NETSCAPE" in data
    assert decode_picture(data).picture.shape == (40, 56, 3)


@pytest.mark.parametrize("position", ["before pixels", "after pixels"])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_png_with_megabytes_of_text_is_read(kind: bytes, position: str):
    text = bytes(range(32, 127)) * 40_000  # 3.8 MB
    body = {
        b"tEXt": b"Comment\0" + text,
        b"zTXt": b"Comment\0\0" + zlib.compress(text),
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text),
    }[kind]
    data = encoded(smooth(1), "PNG")
    place = data.index(b"IDAT" if position == "before pixels" else b"IEND") - 4
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    picture = decode_picture(data[:place] + chunk + data[place:]).picture
    assert np.array_equal(picture, smooth(1))


def test_orientation_in_xmp_of_png_is_kept():
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    for text in (b"\0\0\0\0" + xmp, b"\1\0\0\0" + zlib.compress(xmp)):
        body = b"XML:com.adobe.xmp\0" + text
        data = encoded(smooth(1), "PNG")
        place = data.index(b"IDAT") - 4
        chunk = struct.pack(">I", len(body)) + b"iTXt" + body + struct.pack(">I", zlib.crc32(b"iTXt" + body))
        assert np.array_equal(decode_picture(data[:place] + chunk + data[place:]).picture, smooth(1)[::-1, ::-1])


JPEG_VARIANTS = [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"subsampling": 0}]


@pytest.mark.parametrize("options", JPEG_VARIANTS)
@pytest.mark.parametrize("missing", [1, 2])
def test_jpeg_without_end_marker_is_read(options: dict[str, object], missing: int):
    data = encoded(smooth(1, 120, 160), "JPEG", **options)
    assert data.endswith(b"\xff\xd9")
    picture = decode_picture(data[:-missing]).picture
    assert np.array_equal(picture, decode_picture(data).picture)


@pytest.mark.parametrize("options", JPEG_VARIANTS)
def test_jpeg_with_missing_picture_data_is_unreadable(options: dict[str, object]):
    noise = np.random.default_rng(1).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    data = encoded(noise, "JPEG", **options)
    start = data.rindex(b"\xff\xda") + 20
    for length in {*range(start, len(data) - 12, 331), *range(len(data) - 40, len(data) - 12)}:
        assert status_of(data[:length]) is Status.UNREADABLE, length
    for match in re.finditer(rb"\xff[\xd0-\xd7]", data[start:]):  # exactly before and after a restart marker
        assert status_of(data[: start + match.start()]) is Status.UNREADABLE
        assert status_of(data[: start + match.end()]) is Status.UNREADABLE


# --- malicious files, which take much time or memory


def test_jpeg_of_many_scans_is_rejected_at_once():
    data = progressive_jpeg(1000, 1000, scans=10_000)
    start = time.thread_time()
    error = rejection(data)
    assert time.thread_time() - start < 1
    assert error.status is Status.TOO_COSTLY
    assert re.search("JPEG .*too many scans; at most 100 are allowed", str(error))


def test_scan_limit_depends_on_picture_size():
    assert decode_picture(progressive_jpeg(1000, 1000, scans=100)).picture.shape == (1000, 1000, 3)
    error = rejection(progressive_jpeg(5000, 4100, scans=100))
    assert error.status is Status.TOO_COSTLY
    assert re.search(r"100 scans \(passes over the picture\) of 20\.5 megapixels.* 2000", str(error))


def test_progressive_jpeg_that_needs_much_memory_is_rejected(monkeypatch: pytest.MonkeyPatch):
    data = encoded(smooth(1, 1000, 1000), "JPEG", progressive=True, subsampling="4:4:4")
    monkeypatch.setattr("portraitist.clean.decode.MAX_COEFFICIENT_MB", 6)
    assert decode_picture(data).picture.shape == (1000, 1000, 3)
    monkeypatch.setattr("portraitist.clean.decode.MAX_COEFFICIENT_MB", 5)
    error = rejection(data)
    assert error.status is Status.TOO_COSTLY
    assert re.search("6 MB.* 5 MB", str(error))
    assert decode_picture(encoded(smooth(1, 1000, 1000), "JPEG", subsampling="4:4:4")).picture.shape == (1000, 1000, 3)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + b"\xff" * 20_000_000,
        b"\xff\xd8\xff" + b"\0" * 20_000_000,
        b"\xff\xd8" + b"\xff\xe0\0\2" * 5_000_000,
        b"\xff\xd8" + b"\xff\xda\0\2" + b"\xff\0" * 10_000_000,
        b"\x89PNG\r\n\x1a\n" + (struct.pack(">I", 0) + b"teSt" + bytes(4)) * 1_500_000,
    ],
    ids=["fill bytes", "zeros", "segments", "stuffed bytes", "chunks"],
)
def test_cost_of_opening_is_bounded(data: bytes):
    start = time.thread_time()
    assert status_of(data) in (Status.TOO_COSTLY, Status.NOT_A_PICTURE, Status.UNREADABLE)
    assert time.thread_time() - start < 2


@pytest.mark.parametrize(("mode", "form"), [("I;16", "PNG"), ("I", "TIFF"), ("F", "TIFF")])
def test_wide_modes_are_converted_in_strips(mode: str, form: str):
    side = 2500
    values = np.zeros((side, side), {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode])
    values[-1, -1] = 65535  # the range depends on the last pixel
    values[0, 0] = 32896
    data = encoded(Image.fromarray(values), form)
    tracemalloc.start()
    picture = decode_picture(data, max_side_px=4096).picture
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * side**2 + 2e7  # in bytes; the result itself has 3 bytes per pixel
    assert (picture[0, 0, 0], picture[-1, -1, 0], picture[9, 9, 0]) == (128, 255, 0)
