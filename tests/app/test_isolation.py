import cv2
import numpy as np
import pytest

from portraitist.app.isolation import GROWTH, estimate_foreground, isolate_person
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

SIDE = 256


def crop(picture, inside):
    face = Face(1.0, (0.0, 0.0, 1.0, 1.0), np.zeros((6, 2), np.float32))  # not used
    return Crop(CropImage(picture, None, inside), face, np.eye(2, 3, dtype=np.float32))


def person():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (128, 130), (55, 75), 0, 0, 360, 255, -1)
    mask[200:, 30:226] = 255
    return mask


def mixture(foreground, alpha, background):
    """Composite colours or pictures, and return the picture with the mask of its pure background."""
    opacity = alpha[..., None] / 255
    picture = (opacity * foreground + (1 - opacity) * background).round().astype(np.uint8)
    return picture, np.where(alpha == 0, 255, 0).astype(np.uint8)


def test_foreground_has_no_background_under_a_soft_alpha():
    alpha = cv2.GaussianBlur(person(), (0, 0), 4)
    colour = np.array((200, 90, 40))
    picture, background = mixture(colour, alpha, np.array((0, 255, 0)))
    found = estimate_foreground(picture, alpha, background).astype(int)
    assert np.abs(found - colour).max() < 15
    assert np.abs(picture.astype(int) - colour)[alpha > 25].max() > 100


@pytest.mark.parametrize("back", [(10, 10, 20), (240, 240, 230)])
def test_foreground_keeps_dark_hair_at_the_edge_of_a_bright_face(back):
    alpha = cv2.GaussianBlur(person(), (0, 0), 3)
    hair = np.array((40, 30, 25))
    inner = cv2.erode(person(), np.ones((25, 25), np.uint8))
    foreground = np.where(inner[..., None] > 0, (210, 160, 130), hair)
    picture, background = mixture(foreground, alpha, np.array(back))
    found = estimate_foreground(picture, alpha, background).astype(int)
    soft = (alpha > 100) & (alpha < 200)
    assert soft.sum() > 500
    assert np.abs(found - hair)[soft].mean() < 15


def test_opaque_pixels_keep_their_colours():
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    alpha = cv2.GaussianBlur(person(), (0, 0), 4)
    found = estimate_foreground(picture, alpha, np.where(alpha == 0, 255, 0).astype(np.uint8))
    assert np.array_equal(found[alpha == 255], picture[alpha == 255])
    assert found[alpha == 0].std() < 0.3 * picture[alpha == 0].std()


def test_picture_without_an_opaque_pixel_is_returned_unchanged():
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    alpha = np.full((SIDE, SIDE), 200, np.uint8)
    assert estimate_foreground(picture, alpha, 255 - alpha) is picture


def test_colours_of_a_transparent_picture_are_not_taken_for_a_mixture():
    # where the background is transparent, pixels of the soft edge have the foreground's colour already
    picture, alpha = np.full((SIDE, SIDE, 3), (200, 90, 40), np.uint8), cv2.GaussianBlur(person(), (0, 0), 4)
    picture[alpha == 0] = (0, 255, 0)
    found = estimate_foreground(picture, alpha, np.zeros_like(alpha)).astype(int)
    assert np.abs(found - (200, 90, 40)).max() <= 1


def test_isolated_person_is_surrounded_by_its_own_colours():
    cutout = cv2.GaussianBlur(person(), (0, 0), 3)
    picture, _ = mixture(np.array((200, 90, 40)), cutout, np.array((0, 255, 0)))
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    inside[220:] = 0
    given = crop(picture, inside)
    isolated, area = isolate_person(given, np.minimum(cutout, inside))
    assert np.abs(isolated.square.picture.astype(int) - (200, 90, 40)).max() < 20
    assert np.abs(picture.astype(int) - (200, 90, 40))[area > 0].max() > 100
    assert np.array_equal(given.square.picture, picture)
    distance = cv2.distanceTransform((np.minimum(cutout, inside) == 0).astype(np.uint8), cv2.DIST_C, 3)
    assert np.array_equal(area > 0, (distance <= round(GROWTH * SIDE)) & (inside > 0))
