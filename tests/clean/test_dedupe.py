import numpy as np
import pytest
from drawn import encoded, smooth
from PIL import Image

from portraitist.clean.decode import CleanPicture, decode_picture, difference_hash
from portraitist.clean.dedupe import Fingerprint, SeenPictures, correlation, fingerprints

HEIGHT, WIDTH = 96, 128


def picture(seed):
    return smooth(seed, HEIGHT, WIDTH)


def seen_of(array):
    return fingerprints(CleanPicture(array, None))


def resized(array, width, height):
    return np.array(Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS))


def framed(array, shade=250, by=9):
    """The picture with a border that is not as wide on each side, as JPEG stores it."""
    wide = np.pad(array, ((by, 2 * by), (3 * by, by), (0, 0)), constant_values=shade)
    return decode_picture(encoded(wide, "JPEG", quality=80)).picture


COPIES = {
    "near": [
        picture(1),
        resized(picture(1), 90, 67),
        decode_picture(encoded(picture(1), "JPEG", quality=40)).picture,
        (picture(1) * 0.8).astype(np.uint8),
        picture(1)[2:-2, 2:-2],
    ],
    "trimmed": [framed(picture(1)), framed(picture(1), shade=3), resized(framed(picture(1)), 100, 70)],
    "mirrored": [
        np.ascontiguousarray(picture(1)[:, ::-1]),
        resized(picture(1)[:, ::-1], 90, 67),
        framed(np.ascontiguousarray(picture(1)[:, ::-1])),
    ],
}


@pytest.mark.parametrize(
    ("relation", "number"), [(name, n) for name, all_of in COPIES.items() for n in range(len(all_of))]
)
def test_a_copy_names_the_picture_that_it_repeats_and_how(relation, number):
    for first, second in ((picture(1), COPIES[relation][number]), (COPIES[relation][number], picture(1))):
        seen = SeenPictures(within_bits=8, correlation=0.97)
        assert seen.same_as("other", seen_of(picture(2))) == ("", "")
        assert seen.same_as("a", seen_of(first)) == ("", "")
        assert seen.same_as("b", seen_of(second)) == ("a", relation)


def test_other_pictures_are_new_and_a_copy_is_not_kept_in_mind():
    seen = SeenPictures(within_bits=8, correlation=0.97)
    assert {seen.same_as(str(seed), seen_of(picture(seed))) for seed in range(1, 60)} == {("", "")}
    before = len(seen.ids)
    assert seen.same_as("copy", seen_of(picture(7)))[0] == "7"
    assert len(seen.ids) == before


def test_more_pictures_than_there_was_room_for_are_all_found_again():
    rng = np.random.default_rng(1)
    tiny = [
        Fingerprint(rng.integers(0, 256, (8, 9), np.uint8), rng.integers(0, 256, (16, 16), np.uint8))
        for _ in range(700)
    ]
    seen = SeenPictures(within_bits=2, correlation=0.9)
    assert {seen.same_as(str(number), [look]) for number, look in enumerate(tiny)} == {("", "")}
    assert [seen.same_as("again", [look]) for look in tiny] == [(str(number), "near") for number in range(700)]


def test_both_the_hash_and_the_shades_must_agree():
    slope = np.arange(72, dtype=np.uint8).reshape(8, 9)
    dark, light = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    dark[:8], light[8:] = 100, 100
    kept = Fingerprint(slope, dark)
    for look, found in (
        (Fingerprint(slope, dark), "a"),
        (Fingerprint(slope, light), ""),
        (Fingerprint(slope[:, ::-1], dark), ""),
    ):
        seen = SeenPictures(within_bits=8, correlation=0.97)
        seen.same_as("a", [kept])
        assert seen._find(look) == (0 if found else None)


def test_the_bounds_are_themselves_allowed():
    base = np.tile(np.arange(9, dtype=np.uint8) * 9, (8, 1))
    turned = base.copy()
    turned[0, 1] = 0  # one bit of 64
    tiny = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for within, found in ((1, ("a", "near")), (0, ("", ""))):
        seen = SeenPictures(within, correlation=1 - 1e-6)
        seen.same_as("a", [Fingerprint(base, tiny)])
        assert seen.same_as("b", [Fingerprint(turned, tiny)]) == found


def test_correlation_sees_neither_light_nor_contrast():
    tiny = np.random.default_rng(1).integers(0, 120, (16, 16), dtype=np.uint8)
    assert correlation(tiny, tiny * 2 + 7) == pytest.approx(1)
    assert correlation(tiny, 200 - tiny) == pytest.approx(-1)
    assert correlation(tiny, np.full((16, 16), 9, np.uint8)) == 0


def test_a_look_survives_as_text_and_its_hash_is_that_of_the_picture():
    first, *_ = seen_of(picture(3))
    back = Fingerprint.parse(first.digits())
    assert back.dhash == first.dhash == difference_hash(CleanPicture(picture(3), None))
    assert np.array_equal(back.tiny, first.tiny)
    mirror = seen_of(np.ascontiguousarray(picture(3)[:, ::-1]))[0]
    assert (first.mirrored().dhash ^ mirror.dhash).bit_count() <= 1
    assert correlation(first.mirrored().tiny, mirror.tiny) > 0.999


def test_what_lies_behind_the_alpha_is_no_look():
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[20:70, 30:90] = 255
    other = np.where(alpha[..., None] > 0, picture(1), picture(2))
    one, two = fingerprints(CleanPicture(picture(1), alpha)), fingerprints(CleanPicture(other, alpha))
    assert [look.digits() for look in one] == [look.digits() for look in two]
    assert len(one) == 2  # the grey around the person is a border


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_picture_of_one_shade_has_no_border_and_is_no_ones_copy(shade):
    plain = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
    assert len(seen_of(plain)) == 1
    seen = SeenPictures(8, 0.97)
    assert [seen.same_as("a", seen_of(plain)), seen.same_as("b", seen_of(plain))] == [("", ""), ("", "")]
