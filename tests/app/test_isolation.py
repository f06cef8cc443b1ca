import cv2
import numpy as np
import pytest

from portraitist.app.isolation import FAINT, GROWTH, RIM, add_change, estimate_foreground, isolate_person
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


@pytest.mark.parametrize("side", [100, SIDE, 600])
def test_foreground_has_no_background_under_a_soft_alpha(side):
    alpha = cv2.resize(cv2.GaussianBlur(person(), (0, 0), 4), (side, side), interpolation=cv2.INTER_AREA)
    colour = np.array((200, 90, 40))
    picture, background = mixture(colour, alpha, np.array((0, 255, 0)))
    found = estimate_foreground(picture, alpha, background).astype(int)
    assert np.abs(found - colour).max() < 15
    assert np.abs(picture.astype(int) - colour)[alpha > 25].max() > 100


def haired_person():
    """Return the colours of a bright face with dark hair around it, and the hair's colour."""
    hair = np.array((40, 30, 25))
    face = cv2.erode(person(), np.ones((25, 25), np.uint8))
    return np.where(face[..., None] > 0, (210, 160, 130), hair), hair


@pytest.mark.parametrize("back", [(10, 10, 20), (240, 240, 230)])
def test_foreground_keeps_dark_hair_at_the_edge_of_a_bright_face(back):
    (foreground, hair), alpha = haired_person(), cv2.GaussianBlur(person(), (0, 0), 2)
    picture, background = mixture(foreground, alpha, np.array(back))
    found = estimate_foreground(picture, alpha, background).astype(int)
    soft = (alpha > 100) & (alpha < 200)
    assert soft.sum() > 300
    assert np.abs(found - hair)[soft].mean() < 15


def test_inner_pixels_keep_their_colours():
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    alpha = cv2.GaussianBlur(person(), (0, 0), 4)
    found = estimate_foreground(picture, alpha, np.where(alpha == 0, 255, 0).astype(np.uint8))
    width = 2 * round(RIM * SIDE) + 1
    inner = cv2.erode(np.where(alpha == 255, 255, 0).astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    assert np.array_equal(found[inner], picture[inner])
    assert found[alpha == 0].std() < 0.3 * picture[alpha == 0].std()


def test_spill_is_removed_from_a_rim_that_the_mask_takes_for_the_person():
    (foreground, hair), alpha = haired_person(), person()
    picture, _ = mixture(foreground, cv2.erode(alpha, np.ones((5, 5), np.uint8)), np.array((220, 225, 230)))
    background = 255 - cv2.dilate(alpha, np.ones((5, 5), np.uint8))
    rim = (alpha == 255) & (cv2.erode(alpha, np.ones((5, 5), np.uint8)) == 0)
    found = estimate_foreground(picture, alpha, background).astype(int)
    assert np.abs(picture.astype(int) - hair)[rim].mean() > 150
    assert np.abs(found - hair)[rim].mean() < 20


@pytest.mark.parametrize("colour", [(200, 140, 110), (250, 250, 250)])
def test_ear_and_flower_in_dark_hair_are_not_spill(colour):
    (foreground, _), alpha = haired_person(), person()
    left = np.nonzero(alpha[100:140])[1].min()
    foreground[100:140, left : left + 4] = colour
    picture, background = mixture(foreground, alpha, np.array((120, 125, 130)))
    found = estimate_foreground(picture, alpha, background).astype(int)
    is_it = (picture == colour).all(axis=-1)
    assert is_it.sum() > 50
    assert np.abs(found - colour)[is_it].max() < 12


def test_picture_without_an_opaque_pixel_is_returned_unchanged():
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    alpha = np.full((SIDE, SIDE), 200, np.uint8)
    assert estimate_foreground(picture, alpha, 255 - alpha) is picture


def test_colours_of_a_transparent_picture_are_not_taken_for_a_mixture():
    # where the background is transparent, pixels of the soft edge have the foreground's colour already
    (picture, _), alpha = haired_person(), cv2.GaussianBlur(person(), (0, 0), 4)
    picture = np.where((alpha > 0)[..., None], picture, (0, 255, 0)).astype(np.uint8)
    found = estimate_foreground(picture, alpha, np.zeros_like(alpha))
    assert np.array_equal(found[alpha > 0], picture[alpha > 0])
    assert np.abs(found.astype(int) - (0, 255, 0))[alpha == 0].min(axis=0).max() > 100


def test_faint_alpha_is_not_painted():
    cutout = np.maximum(person(), 3)
    picture = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    assert np.array_equal(*(isolate_person(crop(picture, inside), each)[1] for each in (cutout, person())))


def test_change_is_added_to_the_mixture_at_the_edge():
    alpha = cv2.GaussianBlur(person(), (0, 0), 4)
    before, painting, back = np.array((200, 90, 40)), np.array((60, 160, 90)), np.array((0, 200, 20))
    photo, _ = mixture(before, alpha, back)
    flat = [np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in (before, painting)]
    expected, _ = mixture(painting, alpha, back)
    assert np.abs(add_change(photo, *flat, alpha).astype(int) - expected).max() <= 1


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
    distance = cv2.distanceTransform((np.minimum(cutout, inside) < FAINT).astype(np.uint8), cv2.DIST_C, 3)
    assert np.array_equal(area > 0, (distance <= round(GROWTH * SIDE)) & (inside > 0))
