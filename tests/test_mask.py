from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import CROP, MASK, changed, selfie, smooth

from portraitist.clean import Cleaned, RefusedError
from portraitist.crop import FaceDetector, Square, crop_face, warped
from portraitist.manifest import Verdict
from portraitist.mask import Segmenter, grabcut, overlap, person_mask, segment, under_face
from portraitist.pictures import Picture, Plane, decode

PLAIN = changed(MASK, refine="none")
FACE = (slice(40, 60), slice(38, 58))  # around where CROP sets the face


class Known(Segmenter):
    """Sees the mask that it was given."""

    def __init__(self, mask: Plane) -> None:
        self.mask = mask

    def __call__(self, picture: np.ndarray) -> Plane:
        return self.mask


def plane(*boxes: tuple[slice, slice], value: int = 255) -> Plane:
    drawn = np.zeros((96, 96), np.uint8)
    for box in boxes:
        drawn[box] = value
    return drawn


FULL = plane((slice(None), slice(None)))


def square(alpha: Plane | None = None, inside: Plane = FULL) -> Square:
    return Square(smooth(1, 96, 96), alpha, inside)


def verdict_on(mask: Plane) -> Verdict:
    with pytest.raises(RefusedError) as refused:
        person_mask(square(), Known(mask), PLAIN, CROP)
    return refused.value.verdict


def test_masks_of_the_pack_come_near_its_exact_ones(pretrained: Path, sample: Path):
    detector, segmenter, near = FaceDetector(pretrained), Segmenter(pretrained), []
    for number in (0, 2, 4, 10, 20):
        made = crop_face(Cleaned(selfie(sample, number), None), detector, CROP)
        truth = decode((sample / "masks" / "selfies" / f"{number:04d}.png").read_bytes())
        exact = warped(truth, made.transform, 96, cv2.BORDER_CONSTANT)
        near.append(overlap(person_mask(made.square, segmenter, MASK, CROP), exact))
    assert np.mean(near) >= 0.9
    assert min(near) >= 0.85


def test_the_segmenter_answers_in_the_pictures_own_size(pretrained: Path, sample: Path):
    segmenter, picture = Segmenter(pretrained), selfie(sample, 10)
    whole = segmenter(picture)
    small = segmenter(cv2.resize(picture, (80, 96), interpolation=cv2.INTER_AREA))
    assert whole.shape == (256, 256)
    assert small.shape == (96, 80)
    assert overlap(cv2.resize(whole, (80, 96), interpolation=cv2.INTER_AREA), small) > 0.9


def test_an_alpha_wins_over_the_segmenter():
    alpha = plane((slice(20, 90), slice(10, 50)), value=200)
    assert np.array_equal(person_mask(square(alpha), Known(plane(FACE)), MASK, CROP), alpha)


def test_a_blob_that_does_not_hang_together_with_the_face_is_removed():
    own, other = (slice(20, 96), slice(25, 70)), (slice(10, 90), slice(80, 94))
    mask = person_mask(square(), Known(plane(own, other)), PLAIN, CROP)
    assert np.array_equal(mask, plane(own))


def test_what_hangs_together_with_the_face_stays_whole():
    shape = plane(FACE, (slice(60, 96), slice(0, 96)))
    assert np.array_equal(under_face(shape, CROP), shape)


def test_the_soft_edge_of_the_person_stays_and_anothers_goes():
    soft = plane((slice(18, 82), slice(28, 72)), (slice(18, 82), slice(84, 92)), value=90)
    soft[20:80, 30:70] = soft[20:80, 86:90] = 255
    found = under_face(soft, CROP)
    assert (found[18:82, 28:72] == soft[18:82, 28:72]).all()
    assert (found[:, 74:] == 0).all()


def test_no_person_is_refused():
    assert verdict_on(plane()) is Verdict.NO_PERSON
    assert verdict_on(plane((slice(0, 90), slice(0, 20)))) is Verdict.NO_PERSON  # somebody, but not under the face
    assert verdict_on(plane(FACE)) is Verdict.NO_PERSON  # 4 %


def test_no_background_is_refused_and_so_it_is_of_an_alpha():
    assert verdict_on(FULL) is Verdict.NO_BACKGROUND
    with pytest.raises(RefusedError) as refused:
        person_mask(square(FULL), Known(plane(FACE)), MASK, CROP)
    assert refused.value.verdict is Verdict.NO_BACKGROUND


@pytest.mark.parametrize("params", [PLAIN, MASK])
def test_nothing_beyond_the_picture_is_person(params):
    inside = FULL.copy()
    inside[:, :31], inside[:, 31] = 0, 128
    person = (slice(10, 96), slice(5, 80))
    mask = segment(square(inside=inside), Known(plane(person)), params, CROP)
    assert (mask <= inside).all()
    assert mask[30:70, 45:60].min() == 255
    assert mask[50, 31] == 128


def test_segment_refuses_nothing():
    assert not segment(square(), Known(plane()), MASK, CROP).any()


def two_colours() -> tuple[Picture, Plane, Plane]:
    """A picture whose colours part at one edge, the mask of that edge, and one that is two pixels off."""
    picture = np.full((96, 96, 3), (30, 40, 160), np.uint8)
    truth = plane((slice(20, 96), slice(24, 66)))
    picture[truth > 0] = (200, 150, 120)
    noise = np.random.default_rng(1).integers(-9, 10, picture.shape)
    rough = plane((slice(22, 96), slice(26, 68)))
    return (picture + noise).clip(0, 255).astype(np.uint8), truth, rough


def test_grabcut_moves_the_edge_to_where_the_colours_part():
    picture, truth, rough = two_colours()
    assert overlap(rough, truth) < 0.93
    found = grabcut(picture, rough)
    assert overlap(found, truth) > 0.98
    assert np.array_equal(found, grabcut(picture, rough))  # its chance is fixed


def test_the_edge_is_refined_only_where_params_say_so():
    picture, truth, rough = two_colours()
    refined, plain = (segment(Square(picture, None, FULL), Known(rough), params, CROP) for params in (MASK, PLAIN))
    assert overlap(refined, truth) > 0.98
    assert np.array_equal(plain, rough)


def test_grabcut_moves_the_edge_no_farther_than_the_rim():
    picture = np.full((96, 96, 3), 90, np.uint8)  # no colour parts here
    picture[:, :10] = (200, 30, 30)  # but here, far from the edge
    rough = plane((slice(None), slice(30, 80)))
    found = grabcut(picture, rough)
    assert found[:, 35:75].min() == 255
    assert found[:, :25].max() == found[:, 85:].max() == 0


def test_grabcut_leaves_a_mask_that_has_but_one_side():
    for mask in (plane(), FULL):
        assert np.array_equal(grabcut(smooth(1, 96, 96), mask), mask)


def test_overlap_is_what_is_shared_of_what_is_covered():
    one, other = plane((slice(0, 4), slice(0, 6))), plane((slice(2, 4), slice(0, 9)))
    assert overlap(one, other) == pytest.approx(12 / (24 + 18 - 12))
    assert overlap(one, plane((slice(0, 4), slice(0, 6)), value=128)) == 1
    assert overlap(one, plane((slice(0, 4), slice(0, 6)), value=127)) == 0
    assert overlap(plane(), plane()) == 1
