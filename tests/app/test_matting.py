import cv2
import numpy as np
import pytest

from portraitist.app.backdrop import paint_backdrop
from portraitist.app.matting import keep_person, refine_edges, refine_person, remove_others
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

SIDE, LENGTH = 256, 51.0
NO_BACKGROUND = np.zeros((SIDE, SIDE), np.uint8)


def crop(picture=None, alpha=None, inside=None):
    picture = np.full((SIDE, SIDE, 3), 128, np.uint8) if picture is None else picture
    inside = np.full((SIDE, SIDE), 255, np.uint8) if inside is None else inside
    points = np.array([[108, 112], [148, 112], [128, 140], [128, 112 + LENGTH], [90, 115], [166, 115]], np.float32)
    identity = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    return Crop(CropImage(picture, alpha, inside), Face(1.0, (0.0, 0.0, 1.0, 1.0), points), identity)


def person():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (128, 130), (55, 75), 0, 0, 360, 255, -1)
    mask[200:, 30:226] = 255
    return mask


def test_loosely_connected_parts_are_dropped():
    mask = person()
    mask[40:80, 10:50] = 255  # a letter behind the head
    mask[60:66, 50:100] = 255
    kept = keep_person(mask, crop())
    assert kept[40:80, 10:50].max() == 0
    assert np.array_equal(kept[person() == 255], person()[person() == 255])


CENTRE = crop().face.points[:4].mean(axis=0)


def other_face(scale, right, down=0):
    """Return the face of `crop()`, scaled about its centre and shifted."""
    points = CENTRE + scale * (crop().face.points - CENTRE) + np.array([right, down])
    return Face(1.0, (0.0, 0.0, 1.0, 1.0), points.astype(np.float32))


@pytest.mark.parametrize("scale", [0.6, 1, 3])
@pytest.mark.parametrize("shift", [(101, 0), (-101, 0), (0, 101), (0, -101), (71, 71), (71, -71)])
def test_other_person_is_removed_beyond_the_dividing_line(scale, shift):
    everything = np.full((SIDE, SIDE), 255, np.uint8)
    kept = remove_others(everything, crop(), [other_face(scale, *shift)])
    direction, limit = np.array(shift) / np.hypot(*shift), np.hypot(*shift) / (1 + scale)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    projected = np.stack([columns - CENTRE[0], rows - CENTRE[1]], axis=-1) @ direction
    assert kept[projected < limit - 1].min() == 255
    assert kept[projected > limit + 1].max() == 0
    assert everything.min() == 255


def test_each_of_several_people_is_removed():
    everything = np.full((SIDE, SIDE), 255, np.uint8)
    kept = remove_others(everything, crop(), [other_face(1, 80), other_face(1, -80)])
    columns = np.flatnonzero(kept.any(axis=0))
    assert (columns.min(), columns.max()) == (88, 168)


@pytest.mark.parametrize(
    ("mask", "other"),
    [
        (person(), other_face(1, 101, -80)),
        (np.full((SIDE, SIDE), 255, np.uint8), other_face(0.45, 101)),
        (np.full((SIDE, SIDE), 255, np.uint8), other_face(1, 50)),
        (np.full((SIDE, SIDE), 255, np.uint8), other_face(1, 300)),
    ],
    ids=["not in the mask", "small", "close", "outside the crop"],
)
def test_other_face_is_ignored(mask, other):
    assert remove_others(mask, crop(), [other]) is mask


def test_strand_of_hair_is_kept():
    mask = person()
    mask[100:108, 55:75] = 255
    assert keep_person(mask, crop())[104, 66] == 255


def test_mask_without_a_person_at_the_face_is_unchanged():
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[:20] = 255
    assert np.array_equal(keep_person(mask, crop()), mask)


def test_soft_edge_follows_the_picture():
    truth = cv2.resize(person(), (512, 512)) > 127
    picture = np.where(truth[..., None], (200, 120, 60), (30, 60, 90)).astype(np.uint8)
    blurred = cv2.GaussianBlur(np.roll(person(), 3, axis=1), (0, 0), 3)
    refined = refine_edges(blurred, picture, 2 * LENGTH)
    errors = [float(((mask > 127) != truth).mean()) for mask in (cv2.resize(blurred, (512, 512)), refined)]
    assert errors[1] < errors[0] / 4


def test_faint_background_becomes_transparent():
    solid = person() > 0
    picture = np.where(solid[..., None], (200, 120, 60), (30, 60, 90)).astype(np.uint8)
    hazy = np.where(solid, 255, 60).astype(np.uint8)
    refined = refine_edges(hazy, picture, LENGTH)
    assert refined[~solid].max() < 15
    assert refined[solid].min() > 240


def test_alpha_is_kept_as_it_is():
    alpha = cv2.GaussianBlur(person(), (0, 0), 2)
    assert np.array_equal(refine_person(alpha, crop(alpha=alpha)), alpha)


def test_refined_person_stays_in_the_photo():
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    inside[220:] = 0
    assert refine_person(person(), crop(inside=inside))[220:].max() == 0


def test_person_stays_opaque_up_to_the_end_of_the_photo():
    inside = np.full((2 * SIDE, 2 * SIDE), 255, np.uint8)
    inside[440:] = 0
    grain = np.random.default_rng(1).integers(0, 60, (2 * SIDE, 2 * SIDE, 1), np.uint8)
    picture = np.where(cv2.resize(person(), (2 * SIDE, 2 * SIDE))[..., None] > 127, 190, 30).astype(np.uint8) + grain
    mask = np.minimum(person(), cv2.resize(inside, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    mask = cv2.GaussianBlur(mask, (0, 0), 1.5)
    cropped = crop(np.repeat(picture, 3, axis=2), inside=inside)
    assert refine_person(mask, cropped)[430:440, 100:400].min() == 255


@pytest.mark.parametrize("colour", [(30, 25, 20), (230, 220, 210)])
def test_backdrop_is_soft_and_contrasts_with_the_person(colour):
    painted = np.full((SIDE, SIDE, 3), colour, np.uint8)
    backdrop = paint_backdrop(painted, person(), painted, NO_BACKGROUND, 320)
    assert backdrop.shape == (320, 320, 3)
    assert np.array_equal(backdrop, paint_backdrop(painted, person(), painted, NO_BACKGROUND, 320))
    assert abs(float(backdrop.mean()) - np.mean(colour)) > 35
    assert np.abs(np.diff(backdrop.astype(int), axis=0)).max() < 6
    assert backdrop.std() > 3


@pytest.mark.parametrize("colour", [(20, 22, 30), (230, 228, 235), (90, 130, 80)])
def test_backdrop_has_the_colour_of_the_photos_background(colour):
    painted = np.full((SIDE, SIDE, 3), (200, 150, 120), np.uint8)
    background = 255 - person()
    photo = np.where(background[..., None] > 0, colour, painted).astype(np.uint8)
    photo[:20, :20] = 255 - np.array(colour)  # far from the person
    backdrop = paint_backdrop(painted, person(), photo, background, 320)
    assert np.abs(backdrop.mean(axis=(0, 1)) - colour).max() < 30


def test_colour_of_the_backdrop_changes_gradually_with_the_amount_of_background():
    painted, black = np.full((SIDE, SIDE, 3), (200, 150, 120), np.uint8), np.zeros((SIDE, SIDE, 3), np.uint8)
    lightness = []
    for rows in range(0, 90, 2):
        background = NO_BACKGROUND.copy()
        background[:rows] = 255 - person()[:rows]
        lightness.append(paint_backdrop(painted, person(), black, background, 64).mean())
    assert lightness[0] - lightness[-1] > 40
    assert np.diff(lightness).max() <= 0
    assert -np.diff(lightness).min() < 20
