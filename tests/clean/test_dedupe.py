import numpy as np
import pytest
from drawn import encoded, smooth
from PIL import Image

from portraitist.clean.decode import CleanPicture, decode_picture, difference_hash
from portraitist.clean.dedupe import Fingerprint, SeenPictures, correlation, fingerprints

HEIGHT, WIDTH = 96, 128


def picture(seed):
    return smooth(seed, HEIGHT, WIDTH)


def prints_of(array):
    return fingerprints(CleanPicture(array, None))


def resized(array, width, height):
    return np.array(Image.fromarray(array).resize((width, height), Image.Resampling.LANCZOS))


def with_border(array, shade=250, by=9):
    """Return the picture with a border of different widths on each side, after JPEG compression."""
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
    "trimmed": [with_border(picture(1)), with_border(picture(1), shade=3), resized(with_border(picture(1)), 100, 70)],
    "mirrored": [
        np.ascontiguousarray(picture(1)[:, ::-1]),
        resized(picture(1)[:, ::-1], 90, 67),
        with_border(np.ascontiguousarray(picture(1)[:, ::-1])),
    ],
}


@pytest.mark.parametrize(
    ("relation", "number"), [(name, number) for name, copies in COPIES.items() for number in range(len(copies))]
)
def test_copy_is_found_with_its_relation(relation, number):
    for first, second in ((picture(1), COPIES[relation][number]), (COPIES[relation][number], picture(1))):
        seen = SeenPictures(max_hamming_distance=8, min_correlation=0.97)
        assert seen.find_or_add("other", prints_of(picture(2))) == ("", "")
        assert seen.find_or_add("a", prints_of(first)) == ("", "")
        assert seen.find_or_add("b", prints_of(second)) == ("a", relation)


def test_different_pictures_are_added_and_copies_are_not():
    seen = SeenPictures(max_hamming_distance=8, min_correlation=0.97)
    assert {seen.find_or_add(str(seed), prints_of(picture(seed))) for seed in range(1, 60)} == {("", "")}
    before = len(seen)
    assert seen.find_or_add("copy", prints_of(picture(7)))[0] == "7"
    assert len(seen) == before


def test_index_grows_and_finds_all_pictures():
    rng = np.random.default_rng(1)
    prints = [
        Fingerprint(rng.integers(0, 256, (8, 9), np.uint8), rng.integers(0, 256, (16, 16), np.uint8))
        for _ in range(700)
    ]
    seen = SeenPictures(max_hamming_distance=2, min_correlation=0.9)
    assert {seen.find_or_add(str(number), [one]) for number, one in enumerate(prints)} == {("", "")}
    assert [seen.find_or_add("again", [one]) for one in prints] == [(str(number), "near") for number in range(700)]


def test_both_hash_and_correlation_must_match():
    levels = np.arange(72, dtype=np.uint8).reshape(8, 9)
    dark, light = np.zeros((16, 16), np.uint8), np.zeros((16, 16), np.uint8)
    dark[:8], light[8:] = 100, 100
    added = Fingerprint(levels, dark)
    for other, match in (
        (Fingerprint(levels, dark), "a"),
        (Fingerprint(levels, light), ""),
        (Fingerprint(levels[:, ::-1], dark), ""),
    ):
        seen = SeenPictures(max_hamming_distance=8, min_correlation=0.97)
        seen.find_or_add("a", [added])
        assert seen._find(other) == (0 if match else None)


def test_limits_are_inclusive():
    base = np.tile(np.arange(9, dtype=np.uint8) * 9, (8, 1))
    changed = base.copy()
    changed[0, 1] = 0  # one bit of 64
    thumbnail = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for distance, result in ((1, ("a", "near")), (0, ("", ""))):
        seen = SeenPictures(distance, min_correlation=1 - 1e-6)
        seen.find_or_add("a", [Fingerprint(base, thumbnail)])
        assert seen.find_or_add("b", [Fingerprint(changed, thumbnail)]) == result


def test_correlation_ignores_brightness_and_contrast():
    thumbnail = np.random.default_rng(1).integers(0, 120, (16, 16), dtype=np.uint8)
    assert correlation(thumbnail, thumbnail * 2 + 7) == pytest.approx(1)
    assert correlation(thumbnail, 200 - thumbnail) == pytest.approx(-1)
    assert correlation(thumbnail, np.full((16, 16), 9, np.uint8)) == 0


def test_fingerprints_round_trip_as_bytes():
    first, second = prints_of(picture(3))[0], prints_of(picture(4))[0]
    parsed, other = Fingerprint.parse_all(first.to_bytes() + second.to_bytes())
    assert other.to_bytes() == second.to_bytes()
    assert parsed.dhash == first.dhash == difference_hash(CleanPicture(picture(3), None))
    assert np.array_equal(parsed.thumbnail, first.thumbnail)
    mirror = prints_of(np.ascontiguousarray(picture(3)[:, ::-1]))[0]
    assert (first.mirrored().dhash ^ mirror.dhash).bit_count() <= 1
    assert correlation(first.mirrored().thumbnail, mirror.thumbnail) > 0.999


def test_fingerprint_ignores_transparent_pixels():
    alpha = np.zeros((HEIGHT, WIDTH), np.uint8)
    alpha[20:70, 30:90] = 255
    other = np.where(alpha[..., None] > 0, picture(1), picture(2))
    first, second = fingerprints(CleanPicture(picture(1), alpha)), fingerprints(CleanPicture(other, alpha))
    assert [one.to_bytes() for one in first] == [one.to_bytes() for one in second]
    assert len(first) == 2  # the grey around the person is a border


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_uniform_picture_has_no_border_and_matches_nothing(shade):
    plain = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
    assert len(prints_of(plain)) == 1
    seen = SeenPictures(8, 0.97)
    assert [seen.find_or_add("a", prints_of(plain)), seen.find_or_add("b", prints_of(plain))] == [("", ""), ("", "")]
