from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import CROP, changed, selfie, smooth

from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.outcome import Status
from portraitist.core.types import Picture
from portraitist.crop.align import Crop, CropImage, alignment, crop_face, crop_faces, draw_detection
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import LEFT_EYE, MOUTH, RIGHT_EYE, Face, warp

EYES = (0.5 * 96, 0.44 * 96)  # CROP's


@pytest.fixture(scope="module")
def detector(pretrained: Path) -> FaceDetector:
    return FaceDetector(pretrained)


def face(right: tuple[float, float], left: tuple[float, float], mouth: tuple[float, float]) -> Face:
    nose = tuple(np.mean([right, left, mouth], axis=0))
    points = np.array([right, left, nose, mouth, right, left], np.float32)
    return Face(0.9, (*map(float, right), float(left[0]), float(mouth[1])), points)


TILTED = face((50, 30), (70, 38), (52, 56))  # in a picture of 80 x 120
WIDE = smooth(1, 80, 120)


def landed(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def verdict_on(cleaned: CleanPicture, one: Face, **values: float) -> Status:
    with pytest.raises(RejectedError) as refused:
        crop_face(cleaned, one, changed(CROP, **values))
    return refused.value.status


def test_the_eyes_land_level_on_the_eye_line_and_the_mouth_at_its_distance():
    right, left, _, mouth = landed(TILTED.points, alignment(TILTED, WIDE, CROP))[:4]
    assert np.allclose((right + left) / 2, EYES, atol=1e-3)
    assert abs(right[1] - left[1]) < 1e-3
    assert left[0] > right[0]
    assert np.hypot(*(mouth - EYES)) == pytest.approx(0.2 * 96, abs=1e-3)
    assert mouth[1] > right[1]


def test_the_alignment_neither_mirrors_nor_stretches():
    turn = alignment(TILTED, WIDE, CROP)[:, :2].astype(float)
    scale = np.sqrt(np.linalg.det(turn))
    assert np.allclose(turn @ turn.T, scale**2 * np.eye(2), atol=1e-6)


def test_a_nod_that_brings_the_mouth_near_the_eyes_does_not_enlarge_the_head():
    nod = face((50, 30), (70, 30), (60, 32))
    right, left = landed(nod.points, alignment(nod, WIDE, CROP))[[RIGHT_EYE, LEFT_EYE]]
    assert left[0] - right[0] == pytest.approx(0.2 * 96 / 1.05, abs=1e-3)


@pytest.mark.parametrize("larger", [1, 4])  # reduced by area before it is warped, where it shrinks much
def test_what_is_seen_lies_where_the_transform_says(larger: int):
    one = face(*(tuple(larger * TILTED.points[which]) for which in (RIGHT_EYE, LEFT_EYE, MOUTH)))
    picture = np.zeros((80 * larger, 120 * larger, 3), np.uint8)
    for channel, which in enumerate((RIGHT_EYE, LEFT_EYE, MOUTH)):
        x, y = (int(value) for value in one.points[which])
        picture[y - larger : y + larger + 1, x - larger : x + larger + 1, channel] = 255
    made = crop_face(CleanPicture(picture, None), one, CROP)
    for channel, which in enumerate((RIGHT_EYE, LEFT_EYE, MOUTH)):
        weight = made.square.picture[..., channel].astype(float)
        rows, columns = np.mgrid[0:96, 0:96]
        middle = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert np.abs(middle - landed(one.points[which], made.transform)).max() < 0.5


@pytest.mark.parametrize(("height", "width"), [(40, 36), (36, 44)])
def test_where_the_picture_ends_all_around_the_frame_closes_in_and_nothing_is_lost(height: int, width: int):
    tight = face((12, 14), (24, 15), (18, 27))
    picture = smooth(1, height, width)
    there, plain = (alignment(tight, picture, changed(CROP, closest_eye_to_mouth=most)) for most in (0.32, 0.2))
    nearer = np.hypot(*there[:, 0]) / np.hypot(*plain[:, 0])
    assert 1.1 < nearer < 1.6
    eyes = landed(tight.points[[RIGHT_EYE, LEFT_EYE]], there).mean(axis=0)
    assert np.allclose(eyes, EYES, atol=1e-3)
    corners = landed(np.array([[0, 0], [width, 0], [width, height], [0, height]]), there)
    assert corners.min() == pytest.approx(0, abs=1e-3) or corners.max() == pytest.approx(96, abs=1e-3)
    assert corners.min() > -1e-3
    assert corners.max() < 96 + 1e-3


def test_the_frame_closes_in_no_farther_than_it_may_and_not_where_the_picture_goes_on():
    tight, picture = face((12, 14), (24, 15), (18, 28)), smooth(1, 30, 30)
    there = alignment(tight, picture, changed(CROP, closest_eye_to_mouth=0.25))
    eyes, mouth = landed(tight.points[[RIGHT_EYE, LEFT_EYE]], there).mean(axis=0), landed(tight.points[MOUTH], there)
    assert np.hypot(*(mouth - eyes)) == pytest.approx(0.25 * 96, abs=1e-3)
    longer = np.concatenate([picture] * 5)  # it goes on below
    assert np.allclose(
        alignment(tight, longer, CROP), alignment(tight, longer, changed(CROP, closest_eye_to_mouth=0.2))
    )


def test_pixels_beyond_the_picture_are_0_in_inside_and_the_others_255():
    made = crop_face(CleanPicture(smooth(1, 80, 120), None), TILTED, CROP)
    rows, columns = np.mgrid[0:96, 0:96].astype(float)
    back = cv2.invertAffineTransform(made.transform)
    x, y = landed(np.stack([columns, rows], axis=-1), back).transpose(2, 0, 1)
    deep = np.minimum(np.minimum(x, 119 - x), np.minimum(y, 79 - y))  # how far inside, in the picture's pixels
    assert (deep > 3).sum() > 2000
    assert (deep < -3).sum() > 300
    assert (made.square.inside[deep > 3] == 255).all()
    assert (made.square.inside[deep < -3] == 0).all()


def test_what_lies_far_beyond_the_picture_has_lost_its_lines_and_the_picture_has_kept_them():
    stripes = np.zeros((80, 120, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    level = face((50, 30), (70, 30), (60, 52))
    made = crop_face(CleanPicture(stripes, None), level, CROP).square
    beyond, within = made.inside[:8, 40:60].max(), made.inside[36:80, 40:60].min()
    assert (beyond, within) == (0, 255)
    assert np.ptp(made.picture[:8, 40:60]) < 60
    assert np.ptp(made.picture[36:80, 40:60]) > 200


def test_beyond_the_picture_its_border_goes_on():
    picture = np.full((80, 120, 3), (10, 20, 30), np.uint8)
    made = crop_face(CleanPicture(picture, None), TILTED, CROP)
    assert made.square.inside.min() == 0
    assert np.array_equal(made.square.picture, np.broadcast_to((10, 20, 30), (96, 96, 3)))


def test_the_alpha_is_warped_along_and_ends_where_the_picture_ends():
    alpha = smooth(2, 80, 120)[..., 1]
    made = crop_face(CleanPicture(np.dstack([alpha] * 3), alpha), TILTED, CROP).square
    assert made.alpha is not None
    within = cv2.erode(made.inside, np.ones((9, 9))) == 255
    assert within.sum() > 2000
    assert np.array_equal(made.alpha[within], made.picture[..., 0][within])
    assert (made.alpha[made.inside == 0] == 0).all()
    assert crop_face(CleanPicture(smooth(1, 80, 120), None), TILTED, CROP).square.alpha is None


def test_a_tiny_face_is_too_small():
    tiny = face((50, 30), (54, 31), (51, 35))
    assert verdict_on(CleanPicture(smooth(1, 80, 120), None), tiny) is Status.FACE_TOO_SMALL
    assert crop_face(
        CleanPicture(smooth(1, 80, 120), None), tiny, changed(CROP, max_upscale=5)
    ).square.picture.shape == (
        96,
        96,
        3,
    )


def test_a_face_in_the_corner_is_cut_off():
    corner = face((2, 4), (22, 4), (12, 26))  # the picture is wide: no closing in
    assert verdict_on(CleanPicture(smooth(1, 80, 120), None), corner) is Status.FACE_CUT_OFF
    made = crop_face(CleanPicture(smooth(1, 80, 120), None), corner, changed(CROP, min_inside=0.2))
    assert 0.2 < made.square.inside.mean() / 255 < 0.5


def test_fine_lines_are_averaged_when_a_picture_shrinks():
    stripes = np.zeros((400, 400), np.uint8)
    stripes[:, ::2] = 200
    small = warp(stripes, np.array([[0.125, 0, 0], [0, 0.125, 0]], np.float32), 50, cv2.BORDER_CONSTANT)
    assert abs(small[2:-2, 2:-2].astype(int) - 100).max() < 10


def test_a_squares_members_hold_all_of_it():
    for alpha in (None, smooth(3)[..., 0]):
        square = CropImage(smooth(1), alpha, smooth(2)[..., 0])
        back = CropImage.from_members(square.members())
        assert np.array_equal(back.picture, square.picture)
        assert np.array_equal(back.inside, square.inside)
        assert (back.alpha is None) if alpha is None else np.array_equal(back.alpha, alpha)


@pytest.mark.parametrize("degrees", [0, 20, -20])
def test_a_selfies_eyes_land_on_the_eye_line_however_the_head_is_turned(
    degrees: int, detector: FaceDetector, sample: Path
):
    upright = selfie(sample, 10)
    turn = cv2.getRotationMatrix2D((128, 128), degrees, 1)
    turned = cv2.warpAffine(upright, turn, (256, 256), borderMode=cv2.BORDER_REPLICATE)
    made = crop_faces(CleanPicture(turned, None), detector, CROP)[0]
    assert isinstance(made, Crop)
    assert np.degrees(np.arctan2(made.transform[0, 1], made.transform[0, 0])) == pytest.approx(-degrees, abs=5)
    eyes = detector.detect(upright)[0].points[[RIGHT_EYE, LEFT_EYE]]  # where they are, known from the upright picture
    right, left = landed(landed(eyes, turn), made.transform)
    assert np.abs((right + left) / 2 - EYES).max() < 3
    assert abs(left[1] - right[1]) < 2
    again = detector.detect(made.square.picture)[0].points
    assert np.abs(again[[RIGHT_EYE, LEFT_EYE]].mean(axis=0) - EYES).max() < 3


def test_a_face_is_found_where_it_is_in_a_wide_and_in_a_tall_picture(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    alone = detector.detect(picture)[0]
    for left, top, width, height in ((90, 0, 400, 256), (0, 70, 256, 380)):
        wide = np.full((height, width, 3), 90, np.uint8)
        wide[top : top + 256, left : left + 256] = picture
        found = detector.detect(wide)
        assert len(found) == 1
        assert np.abs(found[0].points[:4] - alone.points[:4] - [left, top]).max() < 5


def test_the_largest_face_comes_first(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    both = np.full((256, 400, 3), 90, np.uint8)
    both[60:204, :144] = cv2.resize(picture, (144, 144), interpolation=cv2.INTER_AREA)
    both[:, 144:] = picture
    found = detector.detect(both)
    assert len(found) == 2
    assert found[0].side_px > 1.5 * found[1].side_px
    assert found[0].points[RIGHT_EYE][0] > 144 > found[1].points[LEFT_EYE][0]


def two(sample: Path, second: int) -> Picture:
    """A selfie, and another one of so many pixels beside it."""
    both = np.full((256, 256 + second, 3), 90, np.uint8)
    both[:, :256] = selfie(sample, 10)
    both[256 - second :, 256:] = cv2.resize(selfie(sample, 8), (second, second), interpolation=cv2.INTER_AREA)
    return both


def test_each_large_face_of_a_picture_is_a_square_and_a_bystander_is_none(detector: FaceDetector, sample: Path):
    each = changed(CROP, faces="each")
    for second, wanted in ((200, 2), (90, 1)):
        cleaned = CleanPicture(two(sample, second), None)
        assert len(detector.detect(cleaned.picture)) == 2
        made = [one for one in crop_faces(cleaned, detector, each) if isinstance(one, Crop)]
        assert len(made) == wanted
        assert all((one.face.points[RIGHT_EYE][0] < 256) == (place == 0) for place, one in enumerate(made))
        (alone,) = crop_faces(cleaned, detector, CROP)
        assert isinstance(alone, Crop)
        assert alone.square.members() == made[0].square.members()


def test_a_face_that_is_refused_takes_no_other_with_it(detector: FaceDetector, sample: Path):
    tiny = changed(CROP, faces="each", large=0.3, max_upscale=1.0)
    kept, refused = crop_faces(CleanPicture(two(sample, 90), None), detector, tiny)
    assert isinstance(kept, Crop)
    assert isinstance(refused, RejectedError)
    assert refused.status is Status.FACE_TOO_SMALL


def test_a_find_that_is_no_face_at_a_second_look_is_none(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    (true,) = detector.detect(picture)
    wall = Face(0.9, true.box, true.points * np.float32(0.2))  # the first look errs
    again = detector._again(picture, wall)
    assert again.score < 0.5 < true.score
    assert detector._again(picture, true).score > 0.5


def test_the_second_look_mends_what_the_first_saw_askew(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    (true,) = detector.detect(picture)
    askew = Face(true.score, true.box, true.points + np.array([4, -3], np.float32))
    again = detector._again(picture, askew)
    off = [
        np.abs(one.points[[RIGHT_EYE, LEFT_EYE]] - true.points[[RIGHT_EYE, LEFT_EYE]]).mean() for one in (askew, again)
    ]
    assert off[1] < 0.4 * off[0]
    assert again.score < detector._again(picture, true).score


def test_what_was_found_is_drawn_where_it_is(detector: FaceDetector, sample: Path):
    cleaned = CleanPicture(selfie(sample, 10), None)
    made = crop_faces(cleaned, detector, CROP)[0]
    assert isinstance(made, Crop)
    seen = draw_detection(cleaned, made)
    x, y = made.face.points[MOUTH].round().astype(int)
    assert tuple(seen[y, x]) == (250, 230, 60)
    changed_pixels = (seen != cleaned.picture).any(axis=-1).mean()
    assert 0.01 < changed_pixels < 0.2


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_where_there_is_no_face_none_is_found(seed: int, detector: FaceDetector):
    noise = np.random.default_rng(seed).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    (refused,) = crop_faces(CleanPicture(noise, None), detector, CROP)
    assert isinstance(refused, RejectedError)
    assert (refused.status, str(refused)) == (Status.NO_FACE, "no face found in the 160 x 128 picture")


def test_a_face_that_the_alpha_hides_is_none(detector: FaceDetector, sample: Path):
    alpha = np.zeros((256, 256), np.uint8)
    alpha[200:, :] = 255
    (refused,) = crop_faces(CleanPicture(selfie(sample, 10), alpha), detector, CROP)
    assert isinstance(refused, RejectedError)
    assert refused.status is Status.NO_FACE


def test_a_missing_model_says_what_brings_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="dvc repro weights"):
        FaceDetector(tmp_path)
