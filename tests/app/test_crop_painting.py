from dataclasses import replace

import cv2
import numpy as np
import pytest
from toys import ROOT

from portraitist.app import photo_border
from portraitist.app.avatar import Portraitist
from portraitist.app.crop_painting import SELFIE_BLUR, blur_enlarged, paint_crop
from portraitist.app.framing import whole_crop
from portraitist.app.photo_border import MIRROR_PX, continue_person, mirror_person, repeat_border
from portraitist.app.selfie import read_selfie
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face, warp


def noise(side):
    return np.random.default_rng(2).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_picture_that_was_not_enlarged_is_unchanged(scale):
    assert np.array_equal(blur_enlarged(noise(64), scale, SELFIE_BLUR), noise(64))


def test_blur_grows_with_the_enlargement_from_nothing():
    deviations = [float(blur_enlarged(noise(64), scale, SELFIE_BLUR).std()) for scale in (1.001, 1.5, 2.0, 4.0)]
    assert deviations[0] > 0.98 * noise(64).std()
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] < 0.3 * noise(64).std()


def test_blur_is_measured_in_pixels_of_the_selfie():
    bar = np.zeros((129, 129, 3), np.uint8)
    bar[60:69, 60:69] = 255
    profile = blur_enlarged(bar, 8.0, 0.5)[64, :, 0].astype(float)
    positions = np.arange(129) - 64
    variance = (profile * positions**2).sum() / profile.sum()
    square = (9**2 - 1) / 12  # variance of the bar itself
    assert np.sqrt(variance - square) == pytest.approx(0.5 * 8, rel=0.05)


def cropped(photo, scale, degrees, shift, side=160):
    """Return a crop that reaches beyond a photo: the photo, rotated around its corner, scaled and shifted."""
    transform = cv2.getRotationMatrix2D((0, 0), degrees, scale).astype(np.float32)
    transform[:, 2] += shift
    inside = warp(np.full(photo.shape[:2], 255, np.uint8), transform, side, cv2.BORDER_CONSTANT)
    picture = warp(photo, transform, side, cv2.BORDER_REPLICATE)
    face = Face(1.0, (0.0, 0.0, 1.0, 1.0), np.zeros((6, 2), np.float32))  # not used
    return Crop(CropImage(picture, None, inside), face, transform)


def smooth_photo(width, height):
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    return np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.2, 0.4, 1.0, 3.0])
@pytest.mark.parametrize(("degrees", "shift"), [(0, (30.4, 40.7)), (0, (10, 12)), (20, (20.3, 60)), (-15, (45, 25))])
def test_the_person_is_mirrored_at_the_border_of_the_photo(scale, degrees, shift):
    size = round(110 / scale), round(90 / scale)
    photo = smooth_photo(*size)
    crop = cropped(photo, scale, degrees, shift)
    inside = crop.square.inside
    extended, person = mirror_person(crop, inside, size)
    distance = cv2.distanceTransform((inside < 255).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    assert (person[distance <= MIRROR_PX - 2] == 255).mean() > 0.998
    assert person[distance <= MIRROR_PX - 2].min() > 190  # a few sources are partly covered in tilted crops
    assert not person[distance > MIRROR_PX + 2].any()
    expected = warp(photo, crop.transform, 160, cv2.BORDER_REFLECT_101)
    near = (distance > 0) & (person == 255)
    assert np.abs(extended[near].astype(int) - expected[near]).max() <= 8
    assert np.abs(crop.square.picture[near].astype(int) - expected[near]).mean() > 10  # without the mirror image
    assert np.array_equal(extended[inside == 255], crop.square.picture[inside == 255])


def test_only_the_person_is_mirrored():
    crop = cropped(smooth_photo(110, 90), 1, 0, (30, 40))
    mask = np.zeros((160, 160), np.uint8)
    mask[40:130, 30:70] = 200
    extended, person = mirror_person(crop, mask, (110, 90))
    changed = (extended != crop.square.picture).any(axis=-1)
    assert changed.any()
    assert (person[changed] == 200).all()
    assert not person[:, 110:].any()


def test_nothing_is_mirrored_if_the_photo_covers_the_crop():
    crop, mask = cropped(smooth_photo(200, 200), 1, 0, (-10, -20)), noise(160)[..., 0]
    extended, person = mirror_person(crop, mask, (200, 200))
    assert extended is crop.square.picture
    assert person is mask


def inverted_person(picture, mask):
    return np.where((mask > 0)[..., None], 255 - picture, picture)


def test_generator_gets_the_mirror_image_of_picture_and_mask():
    crop = cropped(smooth_photo(110, 90), 1, 0, (30, 40))
    mask = np.where(crop.square.inside == 255, 255, 0).astype(np.uint8)
    mask[:, :60] = 0
    calls = []

    def generate(picture, person):
        calls.append((picture, person))
        return inverted_person(picture, person)

    painting = paint_crop(generate, crop, mask, (110, 90))
    expected = mirror_person(crop, mask, (110, 90))
    assert len(calls) == 1
    assert all(np.array_equal(*pair) for pair in zip(calls[0], expected, strict=True))
    assert np.array_equal(painting, inverted_person(*expected))


def near_border(portraitist, photo, bottom):
    """Paint a photo, and the same photo cut off at the bottom; return the mean difference near the cut."""
    paintings, face = [], portraitist.crops(photo)[0].face
    for cleaned in (photo, replace(photo, picture=photo.picture[:bottom])):
        crop = portraitist.crop(cleaned, face)
        person = portraitist.person(cleaned, crop)
        paintings.append(portraitist.paint_frame(cleaned, crop, person, whole_crop(crop)))
    whole, cut = paintings
    inside = cut.crop.square.inside
    near = (cut.cutout == 255) & (whole.cutout == 255) & (cv2.erode(inside, np.ones((49, 49))) < 255)
    return np.abs(whole.painting.astype(float) - cut.painting)[near].mean()


def test_no_stripes_are_painted_along_the_border_of_the_photo(shipped, monkeypatch):
    portraitist, photo = Portraitist(shipped, threads=1), read_selfie(ROOT / "docs" / "astronaut.jpg")
    difference = near_border(portraitist, photo, 200)
    monkeypatch.setattr(photo_border, "MIRROR_PX", 0)
    assert difference < 0.75 * near_border(portraitist, photo, 200)


def test_pixels_beyond_the_photo_repeat_the_nearest_ones_in_it():
    inside = cv2.warpAffine(
        np.full((40, 50), 255, np.uint8), cv2.getRotationMatrix2D((20, 25), 12, 1), (64, 64), flags=cv2.INTER_NEAREST
    )
    mask = np.random.default_rng(3).integers(0, 256, (64, 64)).astype(np.uint8)
    repeated = repeat_border(mask, inside)
    assert np.array_equal(repeated[inside == 255], mask[inside == 255])
    known = np.argwhere(inside == 255)
    for row, column in np.argwhere(inside == 0):
        distances = np.hypot(*(known - (row, column)).T)
        near = known[distances <= 1.05 * distances.min() + 0.5]  # OpenCV's distance is an approximation
        assert repeated[row, column] in mask[tuple(near.T)]


@pytest.mark.parametrize("value", [0, 255])
def test_border_is_not_repeated_without_a_border_in_the_crop(value):
    mask = np.random.default_rng(3).integers(0, 256, (64, 64)).astype(np.uint8)
    assert np.array_equal(repeat_border(mask, np.full((64, 64), value, np.uint8)), mask)


def test_person_is_continued_in_a_strip_beyond_the_photo():
    inside = np.full((100, 100), 255, np.uint8)
    inside[60:] = 0
    mask = np.zeros((100, 100), np.uint8)
    mask[30:60, 20:50] = 200
    continued, area = continue_person(mask, inside, 9)
    assert np.array_equal(area, np.where(np.arange(100)[:, None] < 64, 255, 0) * np.ones((1, 100)))
    assert (continued[30:64, 20:50] == 200).all()
    assert continued.sum() == 200 * 34 * 30
