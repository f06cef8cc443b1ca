import cv2
import numpy as np
import pytest
from drawn import CROP, changed

from portraitist.app.framing import Frame, between, fade_cuts, upright_frame, whole_crop
from portraitist.clean.decode import CleanPicture
from portraitist.crop.align import crop_face
from portraitist.crop.geometry import Face

SIDE = 256
PARAMS = changed(CROP, size_px=SIDE, max_upscale=99.0, min_visible=0.0)


def face(degrees=0.0, centre=(100.0, 100.0), length=40.0):
    """A face whose mouth is `length` below its eyes, rotated clockwise."""
    right, down = 0.4 * length, length
    points = np.array(
        [[-right, 0], [right, 0], [0, 0.6 * down], [0, down], [-2 * right, 0], [2 * right, 0]], np.float32
    )
    angle = np.deg2rad(degrees)
    rotated = points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) + centre
    return Face(1.0, (0.0, 0.0, 80.0, 80.0), rotated.astype(np.float32))


def cut(face, size=(200, 200)):
    return crop_face(CleanPicture(np.full((*size, 3), 90, np.uint8), None), face, PARAMS)


def corners(frame):
    half = frame.side / 2
    return np.array([frame.centre[0] - half, frame.centre[1] - half, frame.centre[0] + half, frame.centre[1] + half])


@pytest.mark.parametrize("degrees", [0, 20, 100])
def test_whole_crop_has_the_transform_of_the_crop(degrees):
    crop = cut(face(degrees))
    assert whole_crop(crop).transform(SIDE) == pytest.approx(crop.transform, abs=1e-2)


@pytest.mark.parametrize(("degrees", "length"), [(0, 40), (20, 40), (-30, 40), (0, 105)])
def test_person_who_fills_the_photo_fills_the_frame(degrees, length):
    crop = cut(face(degrees, length=length))
    frame = upright_frame(crop, crop.square.inside)
    assert frame.degrees == 0
    assert corners(frame).min() >= -3
    assert corners(frame).max() <= 203
    assert frame.side > 120


def test_free_space_around_the_head_is_kept_in_a_large_photo():
    crop = cut(face(0, (400.0, 400.0)), (800, 800))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (128, 120), (60, 80), 0, 0, 360, 255, -1)
    mask[190:] = 255
    frame = upright_frame(crop, mask)
    assert 0.9 * whole_crop(crop).side < frame.side <= whole_crop(crop).side
    assert frame.centre == pytest.approx(whole_crop(crop).centre, abs=20)


@pytest.mark.parametrize(("degrees", "expected"), [(50, 0), (85, 90), (-95, -90), (175, 180)])
def test_sideways_photo_is_turned_by_quarters(degrees, expected):
    crop = cut(face(degrees, (400.0, 400.0)), (800, 800))
    found = upright_frame(crop, np.zeros((SIDE, SIDE), np.uint8)).degrees
    assert (found - expected) % 360 == 0


def test_between_is_the_way_over_the_selfie():
    crop, frame = cut(face(15)), Frame((90.0, 80.0), 120.0, 0.0)
    point = np.array([70.0, 60.0, 1.0])
    way = between(crop.transform, frame.transform(64))
    assert way @ np.append(crop.transform @ point, 1) == pytest.approx(frame.transform(64) @ point, abs=1e-2)


def test_person_fades_out_where_the_painting_ends():
    mask = np.zeros((100, 100), np.uint8)
    mask[30:, 30:70] = 255
    covered = np.full((100, 100), 255, np.uint8)
    covered[80:] = 0
    faded = fade_cuts(np.minimum(mask, covered), covered).astype(int)
    assert np.abs(np.diff(faded[40:, 50])).max() < 40
    assert faded[79, 50] < 20
    assert faded[40, 50] == 255


def test_person_who_is_not_cut_is_not_faded():
    mask = np.zeros((100, 100), np.uint8)
    mask[30:, 30:70] = 255
    covered = np.full((100, 100), 255, np.uint8)
    covered[:20] = 0
    assert np.array_equal(fade_cuts(mask, covered), mask)
