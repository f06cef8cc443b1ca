from dataclasses import replace

import cv2
import numpy as np
import pytest
from toys import ROOT

from portraitist.app import crop_painting
from portraitist.app.avatar import Portraitist
from portraitist.app.crop_painting import MIRROR_PX, SELFIE_BLUR, blur_enlarged, mirror_pixels, paint_crop
from portraitist.app.framing import whole_crop
from portraitist.app.selfie import read_selfie
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face


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


def cropped(photo, degrees, shift, side=160):
    """Return a crop that reaches beyond a photo: the photo, rotated around its corner and shifted."""
    transform = cv2.getRotationMatrix2D((0, 0), degrees, 1) + np.array([[0, 0, shift[0]], [0, 0, shift[1]]])
    inside = cv2.warpAffine(np.full(photo.shape[:2], 255, np.uint8), transform, (side, side))
    picture = cv2.warpAffine(photo, transform, (side, side), borderMode=cv2.BORDER_REPLICATE)
    face = Face(1.0, (0.0, 0.0, 1.0, 1.0), np.zeros((6, 2), np.float32))  # not used
    return Crop(CropImage(picture, None, inside), face, transform.astype(np.float32))


def smooth_photo(width, height):
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x, y, x + y], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("degrees", "shift"), [(0, (30, 40)), (0, (10, 12)), (20, (20, 70)), (-15, (45, 25))])
def test_the_person_is_mirrored_at_the_border_of_the_photo(degrees, shift):
    photo = smooth_photo(110, 90)
    crop = cropped(photo, degrees, shift)
    beyond, mirrored = mirror_pixels(crop, np.full((160, 160), 255, np.uint8), (110, 90))
    expected = cv2.warpAffine(photo, crop.transform, (160, 160), borderMode=cv2.BORDER_REFLECT_101)
    assert np.abs(crop.square.picture[mirrored].astype(int) - expected[beyond]).max() <= 3
    distance = cv2.distanceTransform((crop.square.inside < 255).astype(np.uint8), cv2.DIST_L2, 3)
    assert np.array_equal(sorted(zip(*beyond, strict=True)), np.argwhere((distance > 0) & (distance <= MIRROR_PX)))


def test_only_the_person_is_mirrored():
    crop = cropped(smooth_photo(110, 90), 0, (30, 40))
    mask = np.zeros((160, 160), np.uint8)
    mask[:, :70] = 200
    beyond, mirrored = mirror_pixels(crop, mask, (110, 90))
    assert len(beyond[0])
    assert (mask[mirrored] == 200).all()


def test_nothing_is_mirrored_if_the_photo_covers_the_crop():
    crop = cropped(smooth_photo(200, 200), 0, (-10, -20))
    assert all(len(part) == 0 for pixels in mirror_pixels(crop, crop.square.inside, (200, 200)) for part in pixels)


@pytest.mark.parametrize("is_background_painted", [False, True])
def test_the_area_beyond_the_photo_is_that_of_the_crop_unless_the_background_is_painted(is_background_painted):
    crop = cropped(smooth_photo(110, 90), 0, (30, 40))
    mask = np.where(crop.square.inside == 255, 255, 0).astype(np.uint8)

    def generate(picture, person):
        return np.where((person > 0)[..., None] | is_background_painted, 255 - picture, picture)

    painting = paint_crop(generate, crop, mask, (110, 90))
    expected = generate(crop.square.picture, mask)
    far = cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 3) > MIRROR_PX
    assert np.array_equal(painting[mask > 0], expected[mask > 0])
    assert np.array_equal(painting[far], expected[far])
    assert np.array_equal(painting, expected) != is_background_painted


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
    return np.abs(whole.aligned_person.astype(float) - cut.aligned_person)[near].mean()


def test_no_stripes_are_painted_along_the_border_of_the_photo(shipped, monkeypatch):
    portraitist, photo = Portraitist(shipped, threads=1), read_selfie(ROOT / "docs" / "astronaut.jpg")
    difference = near_border(portraitist, photo, 200)
    monkeypatch.setattr(crop_painting, "MIRROR_PX", 0)
    assert difference < 0.75 * near_border(portraitist, photo, 200)
