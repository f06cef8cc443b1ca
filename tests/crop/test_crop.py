from dataclasses import replace
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
from portraitist.crop.geometry import LEFT_EYE, MOUTH, RIGHT_EYE, Face, covered_area, warp

EYES = (0.5 * 96, 0.44 * 96)  # midpoint of the eyes in a crop with the parameters CROP


@pytest.fixture(scope="module")
def detector(pretrained: Path) -> FaceDetector:
    return FaceDetector(pretrained)


def face(right_eye: tuple[float, float], left_eye: tuple[float, float], mouth: tuple[float, float]) -> Face:
    nose = tuple(np.mean([right_eye, left_eye, mouth], axis=0))
    points = np.array([right_eye, left_eye, nose, mouth, right_eye, left_eye], np.float32)
    return Face(0.9, (*map(float, right_eye), float(left_eye[0]), float(mouth[1])), points)


TILTED = face((50, 30), (70, 38), (52, 56))  # in a picture of 80 x 120
WIDE = smooth(1, 80, 120)


def apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def rejection(cleaned: CleanPicture, rejected: Face, **values: float) -> Status:
    with pytest.raises(RejectedError) as caught:
        crop_face(cleaned, rejected, changed(CROP, **values))
    return caught.value.status


def cropped(picture: Picture, detector: FaceDetector) -> Crop:
    (crop,) = crop_faces(CleanPicture(picture, None), detector, CROP)
    assert isinstance(crop, Crop)
    return crop


def test_alignment_puts_eyes_and_mouth_in_place():
    right_eye, left_eye, _, mouth = apply(alignment(TILTED, WIDE, CROP), TILTED.points)[:4]
    assert np.allclose((right_eye + left_eye) / 2, EYES, atol=1e-3)
    assert abs(right_eye[1] - left_eye[1]) < 1e-3
    assert left_eye[0] > right_eye[0]
    assert np.hypot(*(mouth - EYES)) == pytest.approx(0.2 * 96, abs=1e-3)
    assert mouth[1] > right_eye[1]


def test_alignment_neither_mirrors_nor_stretches():
    linear = alignment(TILTED, WIDE, CROP)[:, :2].astype(float)
    scale = np.sqrt(np.linalg.det(linear))
    assert np.allclose(linear @ linear.T, scale**2 * np.eye(2), atol=1e-6)


def test_nodding_head_is_not_enlarged():
    nodding = face((50, 30), (70, 30), (60, 32))
    right_eye, left_eye = apply(alignment(nodding, WIDE, CROP), nodding.points)[[RIGHT_EYE, LEFT_EYE]]
    assert left_eye[0] - right_eye[0] == pytest.approx(0.2 * 96 / 1.05, abs=1e-3)


@pytest.mark.parametrize("factor", [1, 4])  # at 4 the picture is reduced by area before it is warped
def test_pixels_land_where_the_transform_maps_them(factor: int):
    scaled = face(*(tuple(factor * TILTED.points[index]) for index in (RIGHT_EYE, LEFT_EYE, MOUTH)))
    picture = np.zeros((80 * factor, 120 * factor, 3), np.uint8)
    for channel, index in enumerate((RIGHT_EYE, LEFT_EYE, MOUTH)):
        x, y = (int(value) for value in scaled.points[index])
        picture[y - factor : y + factor + 1, x - factor : x + factor + 1, channel] = 255
    crop = crop_face(CleanPicture(picture, None), scaled, CROP)
    for channel, index in enumerate((RIGHT_EYE, LEFT_EYE, MOUTH)):
        weight = crop.square.picture[..., channel].astype(float)
        rows, columns = np.mgrid[0:96, 0:96]
        centroid = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert np.abs(centroid - apply(crop.transform, scaled.points[index])).max() < 0.5


@pytest.mark.parametrize(("height", "width"), [(40, 36), (36, 44)])
def test_tight_picture_is_enlarged_to_the_border(height: int, width: int):
    tight = face((12, 14), (24, 15), (18, 27))
    picture = smooth(1, height, width)
    enlarged, plain = (alignment(tight, picture, changed(CROP, closest_eye_to_mouth=limit)) for limit in (0.32, 0.2))
    zoom = np.hypot(*enlarged[:, 0]) / np.hypot(*plain[:, 0])
    assert 1.1 < zoom < 1.6
    eyes = apply(enlarged, tight.points[[RIGHT_EYE, LEFT_EYE]]).mean(axis=0)
    assert np.allclose(eyes, EYES, atol=1e-3)
    corners = apply(enlarged, np.array([[0, 0], [width, 0], [width, height], [0, height]]))
    assert corners.min() == pytest.approx(0, abs=1e-3) or corners.max() == pytest.approx(96, abs=1e-3)
    assert corners.min() > -1e-3
    assert corners.max() < 96 + 1e-3


def test_enlargement_is_limited_and_only_for_tight_pictures():
    tight, picture = face((12, 14), (24, 15), (18, 28)), smooth(1, 30, 30)
    transform = alignment(tight, picture, changed(CROP, closest_eye_to_mouth=0.25))
    eyes = apply(transform, tight.points[[RIGHT_EYE, LEFT_EYE]]).mean(axis=0)
    mouth = apply(transform, tight.points[MOUTH])
    assert np.hypot(*(mouth - eyes)) == pytest.approx(0.25 * 96, abs=1e-3)
    tall = np.concatenate([picture] * 5)  # continues below the square
    assert np.allclose(alignment(tight, tall, CROP), alignment(tight, tall, changed(CROP, closest_eye_to_mouth=0.2)))


def test_inside_is_0_beyond_the_picture_and_255_elsewhere():
    crop = crop_face(CleanPicture(smooth(1, 80, 120), None), TILTED, CROP)
    rows, columns = np.mgrid[0:96, 0:96].astype(float)
    inverse = cv2.invertAffineTransform(crop.transform)
    x, y = apply(inverse, np.stack([columns, rows], axis=-1)).transpose(2, 0, 1)
    depth = np.minimum(np.minimum(x, 119 - x), np.minimum(y, 79 - y))  # distance from the border in picture pixels
    assert (depth > 3).sum() > 2000
    assert (depth < -3).sum() > 300
    assert (crop.square.inside[depth > 3] == 255).all()
    assert (crop.square.inside[depth < -3] == 0).all()


def test_lines_fade_beyond_the_picture_only():
    stripes = np.zeros((80, 120, 3), np.uint8)
    stripes[:, ::4] = stripes[:, 1::4] = 255
    level = face((50, 30), (70, 30), (60, 52))
    square = crop_face(CleanPicture(stripes, None), level, CROP).square
    assert square.inside[:8, 40:60].max() == 0
    assert square.inside[36:80, 40:60].min() == 255
    assert np.ptp(square.picture[:8, 40:60]) < 60
    assert np.ptp(square.picture[36:80, 40:60]) > 200


def test_border_colour_continues_beyond_the_picture():
    picture = np.full((80, 120, 3), (10, 20, 30), np.uint8)
    crop = crop_face(CleanPicture(picture, None), TILTED, CROP)
    assert crop.square.inside.min() == 0
    assert np.array_equal(crop.square.picture, np.broadcast_to((10, 20, 30), (96, 96, 3)))


def test_alpha_is_cropped_like_the_picture():
    alpha = smooth(2, 80, 120)[..., 1]
    square = crop_face(CleanPicture(np.dstack([alpha] * 3), alpha), TILTED, CROP).square
    assert square.alpha is not None
    interior = cv2.erode(square.inside, np.ones((9, 9))) == 255
    assert interior.sum() > 2000
    assert np.array_equal(square.alpha[interior], square.picture[..., 0][interior])
    assert (square.alpha[square.inside == 0] == 0).all()
    assert crop_face(CleanPicture(smooth(1, 80, 120), None), TILTED, CROP).square.alpha is None


def test_tiny_face_is_rejected_unless_upscaling_is_allowed():
    tiny, cleaned = face((50, 30), (54, 31), (51, 35)), CleanPicture(smooth(1, 80, 120), None)
    assert rejection(cleaned, tiny) is Status.FACE_TOO_SMALL
    assert crop_face(cleaned, tiny, changed(CROP, max_upscale=5)).square.picture.shape == (96, 96, 3)


def test_enlargement_of_a_tight_picture_does_not_count_as_upscaling():
    tight, cleaned = face((12, 14), (24, 15), (18, 27)), CleanPicture(smooth(1, 40, 36), None)
    plain = np.hypot(*crop_face(CleanPicture(smooth(1, 400, 400), None), tight, CROP).transform[:, 0])
    crop = crop_face(cleaned, tight, changed(CROP, max_upscale=plain + 0.01))
    assert np.hypot(*crop.transform[:, 0]) > 1.1 * plain
    assert rejection(cleaned, tight, max_upscale=plain - 0.01) is Status.FACE_TOO_SMALL


def test_face_in_a_corner_is_rejected_unless_allowed():
    corner = face((2, 4), (22, 4), (12, 26))  # the picture is wide, so it is not enlarged
    assert rejection(CleanPicture(smooth(1, 80, 120), None), corner) is Status.FACE_CUT_OFF
    crop = crop_face(CleanPicture(smooth(1, 80, 120), None), corner, changed(CROP, min_visible=0.2))
    assert 0.2 < crop.square.inside.mean() / 255 < 0.5


def test_warp_averages_fine_lines():
    stripes = np.zeros((400, 400), np.uint8)
    stripes[:, ::2] = 200
    small = warp(stripes, np.array([[0.125, 0, 0], [0, 0.125, 0]], np.float32), 50, cv2.BORDER_CONSTANT)
    assert abs(small[2:-2, 2:-2].astype(int) - 100).max() < 10


@pytest.mark.parametrize("scale", [0.06, 0.3, 0.5, 0.65, 1.4])
def test_covered_area_is_that_of_a_white_picture(scale):
    turned = scale * np.array([[0.96, 0.28, 20], [-0.28, 0.96, 35]])
    white = warp(np.full((301, 200), 255, np.uint8), turned, 96, cv2.BORDER_CONSTANT)
    assert 0 < white.mean() < 255
    assert np.array_equal(covered_area((301, 200, 3), turned, 96), white)


def test_crop_image_round_trips_through_a_shard():
    for alpha in (None, smooth(3)[..., 0]):
        square = CropImage(smooth(1), alpha, smooth(2)[..., 0])
        decoded = CropImage.from_members(square.members())
        assert np.array_equal(decoded.picture, square.picture)
        assert np.array_equal(decoded.inside, square.inside)
        assert (decoded.alpha is None) if alpha is None else np.array_equal(decoded.alpha, alpha)


@pytest.mark.parametrize("degrees", [0, 20, -20])
def test_tilted_head_is_levelled(degrees: int, detector: FaceDetector, sample: Path):
    upright = selfie(sample, 10)
    rotation = cv2.getRotationMatrix2D((128, 128), degrees, 1)
    crop = cropped(cv2.warpAffine(upright, rotation, (256, 256), borderMode=cv2.BORDER_REPLICATE), detector)
    assert np.degrees(np.arctan2(crop.transform[0, 1], crop.transform[0, 0])) == pytest.approx(-degrees, abs=5)
    eyes = detector.detect(upright)[0].points[[RIGHT_EYE, LEFT_EYE]]
    right_eye, left_eye = apply(crop.transform, apply(rotation, eyes))
    assert np.abs((right_eye + left_eye) / 2 - EYES).max() < 3
    assert abs(left_eye[1] - right_eye[1]) < 2
    in_crop = detector.detect(crop.square.picture)[0].points
    assert np.abs(in_crop[[RIGHT_EYE, LEFT_EYE]].mean(axis=0) - EYES).max() < 3


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
@pytest.mark.parametrize("number", [0, 10])
def test_rotated_picture_becomes_upright(quarter_turns: int, number: int, detector: FaceDetector, sample: Path):
    upright = selfie(sample, number)[8:, 3:]  # not square
    rotated = np.ascontiguousarray(np.rot90(upright, quarter_turns))
    difference = cropped(rotated, detector).square.picture.astype(float) - cropped(upright, detector).square.picture
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("number", [34, 62, 182])  # BlazeFace finds an upright face in them when they are upside down
def test_upside_down_face_is_recognised(number: int, detector: FaceDetector, sample: Path):
    upright = selfie(sample, number)
    rotated = np.ascontiguousarray(upright[::-1, ::-1])
    difference = cropped(rotated, detector).square.picture.astype(float) - cropped(upright, detector).square.picture
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("upright", [True, False])
def test_face_in_a_rotated_picture_must_be_upright_in_it(detector: FaceDetector, monkeypatch, upright: bool):
    weak, strong = replace(TILTED, score=0.6), replace(TILTED, score=0.9)
    found = {(80, 120): [weak], (120, 80): [strong]}  # as it is; rotated by 90 or 270 degrees
    monkeypatch.setattr(detector, "_detect_merged", lambda picture, _: found[picture.shape[:2]])
    monkeypatch.setattr(detector, "is_upside_down", lambda _, face: face.score < 0.9 or not upright)
    faces = detector.detect_any(WIDE)
    assert [face.score for face in faces] == ([0.9] if upright else [])  # the weak face is upside down


def test_dark_pictures_are_searched_again_brightened(detector: FaceDetector, monkeypatch):
    def run(_: object, picture: Picture, __: float) -> list[Face]:
        return [TILTED] if picture.mean() > 40 else []

    monkeypatch.setattr(detector, "run", run)
    monkeypatch.setattr(detector, "verify", lambda _, face: face)
    (found,) = detector.detect(np.full((100, 200, 3), 20, np.uint8))
    assert found.box == (120, 30, 140, 56)  # TILTED, in a view that begins at x = 70
    assert detector.detect(np.full((100, 200, 3), 5, np.uint8)) == []


def test_face_that_fills_the_picture_is_preferred(detector: FaceDetector, sample: Path):
    large = cv2.resize(selfie(sample, 12)[60:170, 75:185], (768, 768), interpolation=cv2.INTER_CUBIC)
    alone = cropped(large, detector)
    both = large.copy()
    both[:150, :150] = cv2.resize(selfie(sample, 10), (150, 150), interpolation=cv2.INTER_AREA)
    assert cropped(both, detector).face.side_px == pytest.approx(alone.face.side_px, rel=0.1)


def test_face_is_found_in_wide_and_tall_pictures(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    alone = detector.detect(picture)[0]
    for left, top, width, height in ((90, 0, 400, 256), (0, 70, 256, 380)):
        padded = np.full((height, width, 3), 90, np.uint8)
        padded[top : top + 256, left : left + 256] = picture
        found = detector.detect(padded)
        assert len(found) == 1
        assert np.abs(found[0].points[:4] - alone.points[:4] - [left, top]).max() < 5


def test_largest_face_comes_first(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    both = np.full((256, 400, 3), 90, np.uint8)
    both[60:204, :144] = cv2.resize(picture, (144, 144), interpolation=cv2.INTER_AREA)
    both[:, 144:] = picture
    found = detector.detect_any(both)
    assert len(found) == 2
    assert found[0].side_px > 1.5 * found[1].side_px
    assert found[0].points[RIGHT_EYE][0] > 144 > found[1].points[LEFT_EYE][0]


def test_large_pictures_are_searched_at_a_smaller_size(detector: FaceDetector, sample: Path, monkeypatch):
    small, sizes, run = selfie(sample, 10), [], detector.run
    monkeypatch.setattr(
        detector, "run", lambda model, picture, score: sizes.append(picture.shape) or run(model, picture, score)
    )
    wide = cv2.copyMakeBorder(small, 0, 0, 0, 44, cv2.BORDER_REPLICATE)  # 256 x 300
    (expected,) = detector.detect_any(wide)
    (found,) = detector.detect_any(cv2.resize(wide, (2100, 1792), interpolation=cv2.INTER_CUBIC))
    assert max(max(size) for size in sizes) == 2100 // 2
    assert np.abs(found.points / 7 - expected.points).max() < 2
    assert np.abs(np.array(found.box) / 7 - expected.box).max() < 4


def beside(sample: Path, size_px: int) -> Picture:
    """Return a selfie with another one of `size_px` to its right."""
    both = np.full((256, 256 + size_px, 3), 90, np.uint8)
    both[:, :256] = selfie(sample, 10)
    both[256 - size_px :, 256:] = cv2.resize(selfie(sample, 8), (size_px, size_px), interpolation=cv2.INTER_AREA)
    return both


def test_each_crops_large_faces_only(detector: FaceDetector, sample: Path):
    each = changed(CROP, faces="each")
    for size_px, expected in ((200, 2), (90, 1)):
        cleaned = CleanPicture(beside(sample, size_px), None)
        assert len(detector.detect_any(cleaned.picture)) == 2
        crops = [crop for crop in crop_faces(cleaned, detector, each) if isinstance(crop, Crop)]
        assert len(crops) == expected
        assert [len(crop.other_faces) for crop in crops] == [1] * expected
        assert all((crop.face.points[RIGHT_EYE][0] < 256) == (number == 0) for number, crop in enumerate(crops))
        largest = cropped(cleaned.picture, detector)
        assert largest.square.members() == crops[0].square.members()
        assert [face.box for face in largest.other_faces] == [face.box for face in crops[0].other_faces]


def test_rejected_face_does_not_reject_the_others(detector: FaceDetector, sample: Path):
    strict = changed(CROP, faces="each", min_relative_size=0.3, max_upscale=1.0)
    kept, rejected = crop_faces(CleanPicture(beside(sample, 90), None), detector, strict)
    assert isinstance(kept, Crop)
    assert isinstance(rejected, RejectedError)
    assert rejected.status is Status.FACE_TOO_SMALL


def test_verification_rejects_a_false_detection(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    (true,) = detector.detect(picture)
    false_detection = Face(0.9, true.box, true.points * np.float32(0.2))
    assert detector.verify(picture, false_detection).score < 0.5 < true.score
    assert detector.verify(picture, true).score > 0.5


def test_verification_corrects_landmarks(detector: FaceDetector, sample: Path):
    picture = selfie(sample, 10)
    (true,) = detector.detect(picture)
    moved = Face(true.score, true.box, true.points + np.array([4, -3], np.float32))
    verified = detector.verify(picture, moved)
    before, after = (
        np.abs(candidate.points[[RIGHT_EYE, LEFT_EYE]] - true.points[[RIGHT_EYE, LEFT_EYE]]).mean()
        for candidate in (moved, verified)
    )
    assert after < 0.4 * before
    assert verified.score < detector.verify(picture, true).score


def test_detection_is_drawn_at_its_place(detector: FaceDetector, sample: Path):
    cleaned = CleanPicture(selfie(sample, 10), None)
    crop = cropped(cleaned.picture, detector)
    drawn = draw_detection(cleaned, crop)
    x, y = crop.face.points[MOUTH].round().astype(int)
    assert tuple(drawn[y, x]) == (250, 230, 60)
    assert 0.01 < (drawn != cleaned.picture).any(axis=-1).mean() < 0.2


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_noise_has_no_face(seed: int, detector: FaceDetector):
    noise = np.random.default_rng(seed).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    (rejected,) = crop_faces(CleanPicture(noise, None), detector, CROP)
    assert isinstance(rejected, RejectedError)
    assert rejected.status is Status.NO_FACE
    assert "160 x 128" in str(rejected)


def test_face_hidden_by_alpha_is_not_found(detector: FaceDetector, sample: Path):
    alpha = np.zeros((256, 256), np.uint8)
    alpha[200:, :] = 255
    (rejected,) = crop_faces(CleanPicture(selfie(sample, 10), alpha), detector, CROP)
    assert isinstance(rejected, RejectedError)
    assert rejected.status is Status.NO_FACE


def test_missing_model_names_the_stage_that_writes_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="dvc repro weights"):
        FaceDetector(tmp_path)
