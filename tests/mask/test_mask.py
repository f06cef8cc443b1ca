from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from drawn import CROP, MASK, selfie, smooth
from onnx import helper, numpy_helper
from PIL import Image

from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import Crop, CropImage, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import DOWNLOADED, Segmenter, folded, person_mask, segment_person, under_face

FACE = (slice(40, 60), slice(38, 58))  # around where CROP sets the face


class Known(Segmenter):
    """Sees the mask that it was given."""

    def __init__(self, mask: MaskArray) -> None:
        self.mask = mask

    def __call__(self, picture: np.ndarray) -> MaskArray:
        return self.mask


def plane(*boxes: tuple[slice, slice], value: int = 255) -> MaskArray:
    drawn = np.zeros((96, 96), np.uint8)
    for box in boxes:
        drawn[box] = value
    return drawn


FULL = plane((slice(None), slice(None)))


def square(alpha: MaskArray | None = None, inside: MaskArray = FULL) -> CropImage:
    return CropImage(smooth(1, 96, 96), alpha, inside)


def verdict_on(mask: MaskArray) -> Status:
    with pytest.raises(RejectedError) as refused:
        person_mask(square(), Known(mask), MASK, CROP)
    return refused.value.status


TESTED = {"selfies": (8, 14, 16, 18), "portraits": (1, 9, 11, 17, 19, 27)}  # the refiner has not learned from them


def of_pack(sample: Path, kind: str, number: int) -> tuple[Picture, MaskArray]:
    """A picture of the pack, and its exact mask."""
    mask = decode_png((sample / "masks" / kind / f"{number:04d}.png").read_bytes())
    return np.array(Image.open(sample / kind / f"{number:04d}.jpg")), mask


def test_masks_of_the_pack_come_near_its_exact_ones(pretrained: Path, sample: Path):
    detector, segmenter, found = FaceDetector(pretrained), Segmenter(pretrained), []
    for kind, numbers in TESTED.items():
        for number in numbers:
            picture, truth = of_pack(sample, kind, number)
            made = crop_faces(CleanPicture(picture, None), detector, CROP)[0]
            assert isinstance(made, Crop)
            found.append(mask_iou(person_mask(made.square, segmenter, MASK, CROP), made.warp(truth)))
    assert np.mean(found) >= 0.95
    assert min(found) >= 0.9


def test_the_refiner_knows_people_whose_colours_the_segmenter_has_never_seen(pretrained: Path, sample: Path):
    mean = {}
    models: tuple[MaskModel, MaskModel] = ("selfie", "refined")
    for model in models:
        segmenter, found = Segmenter(pretrained, model), []
        for number in TESTED["portraits"]:
            picture, truth = of_pack(sample, "portraits", number)
            found.append(mask_iou(segmenter(255 - picture), truth))
        mean[model] = np.mean(found)
    assert mean["refined"] > mean["selfie"] + 0.015


def test_the_segmenter_answers_in_the_pictures_own_size(pretrained: Path, sample: Path):
    segmenter, picture = Segmenter(pretrained), selfie(sample, 10)
    whole = segmenter(picture)
    small = segmenter(cv2.resize(picture, (80, 96), interpolation=cv2.INTER_AREA))
    assert whole.shape == (256, 256)
    assert small.shape == (96, 80)
    assert mask_iou(cv2.resize(whole, (80, 96), interpolation=cv2.INTER_AREA), small) > 0.9


def test_an_alpha_wins_over_the_segmenter():
    alpha = plane((slice(20, 90), slice(10, 50)), value=200)
    assert np.array_equal(person_mask(square(alpha), Known(plane(FACE)), MASK, CROP), alpha)


def test_a_blob_that_does_not_hang_together_with_the_face_is_removed():
    own, other = (slice(20, 96), slice(25, 70)), (slice(10, 90), slice(80, 94))
    mask = person_mask(square(), Known(plane(own, other)), MASK, CROP)
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
    assert verdict_on(plane()) is Status.NO_PERSON
    assert verdict_on(plane((slice(0, 90), slice(0, 20)))) is Status.NO_PERSON  # somebody, but not under the face
    assert verdict_on(plane(FACE)) is Status.NO_PERSON  # 4 %


def test_no_background_is_refused_and_so_it_is_of_an_alpha():
    assert verdict_on(FULL) is Status.NO_BACKGROUND
    with pytest.raises(RejectedError) as refused:
        person_mask(square(FULL), Known(plane(FACE)), MASK, CROP)
    assert refused.value.status is Status.NO_BACKGROUND


def test_nothing_beyond_the_picture_is_person():
    inside = FULL.copy()
    inside[:, :31], inside[:, 31] = 0, 128
    person = (slice(10, 96), slice(5, 80))
    mask = segment_person(square(inside=inside), Known(plane(person)), CROP)
    assert (mask <= inside).all()
    assert mask[30:70, 45:60].min() == 255
    assert mask[50, 31] == 128


def test_segment_refuses_nothing():
    assert not segment_person(square(), Known(plane()), CROP).any()


def test_folding_keeps_each_pixel_of_each_channel_in_its_place():
    picture, mask = smooth(1, 8, 8), smooth(2, 8, 8)[..., 0]
    fold = folded(picture, mask)
    assert fold.shape == (1, 16, 4, 4)
    for channel, source in enumerate([*picture.transpose(2, 0, 1), mask]):
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            found = fold[0, 4 * channel + 2 * row + column]
            assert np.allclose(found, source[row::2, column::2] / 127.5 - 1, atol=1e-6)


def test_the_refiner_unfolds_what_it_folded(pretrained: Path):
    look = Segmenter(pretrained).look
    fold = folded(smooth(1, 256, 256), smooth(2, 256, 256)[..., 0])

    class Says:
        """A network whose logits are the green channel's four pixels."""

        def setInput(self, seen: np.ndarray) -> None:
            pass

        def forward(self) -> np.ndarray:
            return 200 * fold[:, 4:8]  # so sure that no threshold matters

    look.net = Says()
    found = look(smooth(1, 256, 256))
    green = smooth(1, 256, 256)[..., 1].astype(float) / 127.5 - 1
    assert np.array_equal(found > 127, green > 0)


def u2net_like(path: Path, side: int) -> Path:
    """An ONNX with two numbered answers: the first the mean of the channels, the second nought, named before it."""
    kind, shape = onnx.TensorProto.FLOAT, [1, 1, side, side]
    third = numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 3, np.float32), "third")
    nought = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "nought")
    nodes = [
        helper.make_node("Conv", ["input.1", "nought"], ["1960"]),
        helper.make_node("Conv", ["input.1", "third"], ["1959"]),
    ]
    outputs = [helper.make_tensor_value_info(name, kind, shape) for name in ("1960", "1959")]
    given = [helper.make_tensor_value_info("input.1", kind, [1, 3, side, side])]
    graph = helper.make_graph(nodes, "toy", given, outputs, [third, nought])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def test_a_downloaded_model_sees_what_it_was_trained_on_and_answers_from_0_to_255(tmp_path: Path):
    u2net_like(tmp_path / f"{DOWNLOADED}.onnx", 320)
    picture = smooth(3, 320, 320)
    scaled = (picture / picture.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    wanted = scaled.mean(axis=-1)
    wanted = 255 * (wanted - wanted.min()) / np.ptp(wanted)
    found = Segmenter(tmp_path, "u2net_human_seg")(picture)
    assert np.abs(found - wanted).max() < 1
    assert (found.min(), found.max()) == (0, 255)
    assert Segmenter(tmp_path, "u2net_human_seg")(smooth(3, 64, 80)).shape == (64, 80)


def test_a_model_that_was_not_downloaded_says_what_brings_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"u2net_human_seg\.onnx is missing: `dvc repro weights` brings it"):
        Segmenter(tmp_path, "u2net_human_seg")


def test_overlap_is_what_is_shared_of_what_is_covered():
    one, other = plane((slice(0, 4), slice(0, 6))), plane((slice(2, 4), slice(0, 9)))
    assert mask_iou(one, other) == pytest.approx(12 / (24 + 18 - 12))
    assert mask_iou(one, plane((slice(0, 4), slice(0, 6)), value=128)) == 1
    assert mask_iou(one, plane((slice(0, 4), slice(0, 6)), value=127)) == 0
    assert mask_iou(plane(), plane()) == 1
