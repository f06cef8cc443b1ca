from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from drawn import CROP, MASK, selfie, smooth
from onnx import helper, numpy_helper
from PIL import Image

from benchmarks.faces import close_to_head
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import Crop, CropImage, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import (
    DOWNLOADED,
    Segmenter,
    alpha_is_mask,
    connected_to_face,
    locate_person,
    person_mask,
    segment_person,
    space_to_depth,
)

FACE = (slice(40, 60), slice(38, 58))  # where CROP puts the face
UNSEEN = {"selfies": (8, 14, 16, 18), "portraits": (1, 9, 11, 17, 19, 27)}  # the refiner was not trained on them


class FixedSegmenter(Segmenter):
    """Returns a fixed mask."""

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


def rejection(mask: MaskArray, alpha: MaskArray | None = None) -> Status:
    with pytest.raises(RejectedError) as caught:
        person_mask(square(alpha), FixedSegmenter(mask), MASK, CROP)
    return caught.value.status


def load_pair(sample: Path, kind: str, number: int) -> tuple[Picture, MaskArray]:
    """Load a picture of the sample and its exact mask."""
    mask = decode_png((sample / "masks" / kind / f"{number:04d}.png").read_bytes())
    return np.array(Image.open(sample / kind / f"{number:04d}.jpg")), mask


def cropped(picture: Picture, alpha: MaskArray | None, detector: FaceDetector) -> Crop:
    crop = crop_faces(CleanPicture(picture, alpha), detector, CROP)[0]
    assert isinstance(crop, Crop)
    return crop


def test_masks_are_near_the_exact_ones(pretrained: Path, sample: Path):
    detector, segmenter, found = FaceDetector(pretrained), Segmenter(pretrained), []
    for kind, numbers in UNSEEN.items():
        for number in numbers:
            picture, exact = load_pair(sample, kind, number)
            crop = cropped(picture, None, detector)
            found.append(mask_iou(person_mask(crop.square, segmenter, MASK, CROP), crop.warp(exact)))
    assert np.mean(found) >= 0.95
    assert min(found) >= 0.9


def test_masks_of_photos_that_end_close_to_the_head(pretrained: Path, sample: Path):
    detector, segmenter, found = FaceDetector(pretrained), Segmenter(pretrained), []
    for number in (8, 14, 16, 18, 22, 34, 40, 42, 54, 62, 64, 68):  # the refiner was not trained on them
        picture, exact = load_pair(sample, "selfies", number)
        area = close_to_head(cropped(picture, None, detector).face, exact)
        crop = cropped(picture[area], None, detector)
        expected = np.minimum(crop.warp(exact[area]), crop.square.inside)
        found.append(mask_iou(person_mask(crop.square, segmenter, MASK, CROP), expected))
    assert np.mean(found) >= 0.978
    assert min(found) >= 0.955


def test_refiner_improves_masks_of_unusual_colours(pretrained: Path, sample: Path):
    mean = {}
    models: tuple[MaskModel, MaskModel] = ("selfie", "refined")
    for model in models:
        segmenter, found = Segmenter(pretrained, model), []
        for number in UNSEEN["portraits"]:
            picture, exact = load_pair(sample, "portraits", number)
            found.append(mask_iou(segmenter(255 - picture), exact))
        mean[model] = np.mean(found)
    assert mean["refined"] > mean["selfie"] + 0.015


def test_mask_has_the_size_of_its_picture(pretrained: Path, sample: Path):
    segmenter, picture = Segmenter(pretrained), selfie(sample, 10)
    full = segmenter(picture)
    small = segmenter(cv2.resize(picture, (80, 96), interpolation=cv2.INTER_AREA))
    assert full.shape == (256, 256)
    assert small.shape == (96, 80)
    assert mask_iou(cv2.resize(full, (80, 96), interpolation=cv2.INTER_AREA), small) > 0.9


@pytest.mark.parametrize(("kind", "number"), [("selfies", 8), ("selfies", 16), ("portraits", 1), ("portraits", 11)])
def test_exact_alpha_is_the_mask(kind: str, number: int, pretrained: Path, sample: Path):
    picture, exact = load_pair(sample, kind, number)
    square = cropped(picture, exact, FaceDetector(pretrained)).square
    mask, origin = locate_person(square, Segmenter(pretrained), CROP)
    assert origin == "alpha"
    assert np.array_equal(mask, square.alpha)


def unrelated_alphas() -> dict[str, MaskArray]:
    """Return alphas of 256 px that are no person masks."""
    rows, columns = np.mgrid[0:256, 0:256] - 127.5
    corner = np.hypot((np.abs(rows) - 112).clip(0), (np.abs(columns) - 112).clip(0))
    pixel = np.full((256, 256), True)
    pixel[0, 0] = False
    alphas = {
        "round": np.hypot(rows, columns) < 128,
        "rounded corners": corner < 16,
        "one pixel": pixel,
        "margins": np.abs(columns) < 90,
    }
    return {name: np.where(opaque, 255, 0).astype(np.uint8) for name, opaque in alphas.items()}


@pytest.mark.parametrize("name", unrelated_alphas())
def test_alpha_that_is_no_mask_is_not_used(name: str, pretrained: Path, sample: Path):
    alpha, (picture, exact) = unrelated_alphas()[name], load_pair(sample, "selfies", 8)
    hidden = np.where(alpha[..., None] > 0, picture, 0).astype(np.uint8)
    crop = cropped(hidden, alpha, FaceDetector(pretrained))
    mask, origin = locate_person(crop.square, Segmenter(pretrained), CROP)
    assert origin == "segmenter"
    assert crop.square.alpha is not None
    assert (mask <= crop.square.alpha).all()
    assert mask_iou(mask, np.minimum(crop.warp(exact), crop.square.alpha)) > 0.9


def test_mixed_colours_at_the_edge_of_a_round_picture_do_not_reach_the_segmenter():
    class Recorder(FixedSegmenter):
        def __call__(self, picture: np.ndarray) -> MaskArray:
            self.picture = picture
            return self.mask

    disc = cv2.circle(plane(), (48, 48), 40, 255, -1)
    rim = (disc > 0) & (cv2.erode(disc, np.ones((3, 3))) == 0)
    picture = np.where(rim[..., None], (0, 255, 0), (200, 120, 90)).astype(np.uint8)
    recorder = Recorder(plane(FACE))
    locate_person(CropImage(picture, disc, FULL), recorder, CROP)
    assert np.array_equal(recorder.picture, np.full_like(picture, (200, 120, 90)))


def test_alpha_needs_transparency_shape_and_agreement():
    person = plane((slice(20, 96), slice(30, 66)), (slice(60, 96), slice(10, 86)))  # not convex
    disc = cv2.circle(plane(), (48, 48), 46, 255, -1)
    part = plane((slice(20, 96), slice(30, 48)))
    assert alpha_is_mask(person, person, FULL)
    assert not alpha_is_mask(person, part, FULL)
    assert not alpha_is_mask(disc, cv2.circle(plane(), (48, 48), 42, 255, -1), FULL)
    assert alpha_is_mask(disc, disc, FULL)
    assert not alpha_is_mask(FULL, FULL, FULL)
    assert not alpha_is_mask(plane(), plane(), FULL)
    assert not alpha_is_mask(person, person, person)  # nothing of the visible part is transparent


def test_component_not_touching_the_face_is_removed():
    own, other = (slice(20, 96), slice(25, 70)), (slice(10, 90), slice(80, 94))
    mask = person_mask(square(), FixedSegmenter(plane(own, other)), MASK, CROP)
    assert np.array_equal(mask, plane(own))


def test_component_of_the_face_is_kept_complete():
    shape = plane(FACE, (slice(60, 96), slice(0, 96)))
    assert np.array_equal(connected_to_face(shape, CROP), shape)


def test_soft_edge_is_kept_around_the_person_only():
    soft = plane((slice(18, 82), slice(28, 72)), (slice(18, 82), slice(84, 92)), value=90)
    soft[20:80, 30:70] = soft[20:80, 86:90] = 255
    found = connected_to_face(soft, CROP)
    assert (found[18:82, 28:72] == soft[18:82, 28:72]).all()
    assert (found[:, 74:] == 0).all()


def test_too_little_person_is_rejected():
    assert rejection(plane()) is Status.NO_PERSON
    assert rejection(plane((slice(0, 90), slice(0, 20)))) is Status.NO_PERSON  # a person, but not at the face
    assert rejection(plane(FACE)) is Status.NO_PERSON  # 4 %


def test_too_little_background_is_rejected():
    assert rejection(FULL) is Status.NO_BACKGROUND
    assert rejection(FULL, alpha=FULL) is Status.NO_BACKGROUND


def test_mask_is_0_beyond_the_picture():
    inside = FULL.copy()
    inside[:, :31], inside[:, 31] = 0, 128
    person = (slice(10, 96), slice(5, 80))
    mask = segment_person(square(inside=inside), FixedSegmenter(plane(person)), CROP)
    assert (mask <= inside).all()
    assert mask[30:70, 45:60].min() == 255
    assert mask[50, 31] == 128


def test_segment_person_rejects_nothing():
    assert not segment_person(square(), FixedSegmenter(plane()), CROP).any()


def test_space_to_depth_keeps_every_pixel():
    picture, mask = smooth(1, 8, 8), smooth(2, 8, 8)[..., 0]
    blocks = space_to_depth(picture, mask)
    assert blocks.shape == (1, 16, 4, 4)
    for channel, source in enumerate([*picture.transpose(2, 0, 1), mask]):
        for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):
            found = blocks[0, 4 * channel + 2 * row + column]
            assert np.allclose(found, source[row::2, column::2] / 127.5 - 1, atol=1e-6)


def test_refiner_restores_the_pixel_order_of_logits(pretrained: Path):
    network = Segmenter(pretrained).network
    blocks = space_to_depth(smooth(1, 256, 256), smooth(2, 256, 256)[..., 0])

    class GreenChannel:
        """A network whose logits are the four pixels of the green channel, scaled to saturate the sigmoid."""

        def setInput(self, inputs: np.ndarray) -> None:
            pass

        def forward(self) -> np.ndarray:
            return 200 * blocks[:, 4:8]

    network.net = GreenChannel()
    found = network(smooth(1, 256, 256))
    green = smooth(1, 256, 256)[..., 1].astype(float) / 127.5 - 1
    assert np.array_equal(found > 127, green > 0)


def write_toy_u2net(path: Path, side: int) -> Path:
    """Write an ONNX model with two numbered outputs: the lower is the mean of the channels, the other is zero."""
    kind, shape = onnx.TensorProto.FLOAT, [1, 1, side, side]
    third = numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 3, np.float32), "third")
    zero = numpy_helper.from_array(np.zeros((1, 3, 1, 1), np.float32), "zero")
    nodes = [
        helper.make_node("Conv", ["input.1", "zero"], ["1960"]),
        helper.make_node("Conv", ["input.1", "third"], ["1959"]),
    ]
    outputs = [helper.make_tensor_value_info(name, kind, shape) for name in ("1960", "1959")]
    inputs = [helper.make_tensor_value_info("input.1", kind, [1, 3, side, side])]
    graph = helper.make_graph(nodes, "toy", inputs, outputs, [third, zero])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8), path)
    return path


def test_downloaded_model_is_normalized_as_trained(tmp_path: Path):
    write_toy_u2net(tmp_path / f"{DOWNLOADED}.onnx", 320)
    picture = smooth(3, 320, 320)
    scaled = (picture / picture.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = scaled.mean(axis=-1)
    expected = 255 * (expected - expected.min()) / np.ptp(expected)
    found = Segmenter(tmp_path, "u2net_human_seg")(picture)
    assert np.abs(found - expected).max() < 1
    assert (found.min(), found.max()) == (0, 255)
    assert Segmenter(tmp_path, "u2net_human_seg")(smooth(3, 64, 80)).shape == (64, 80)


def test_missing_model_names_file_and_stage(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"u2net_human_seg\.onnx.*dvc repro weights"):
        Segmenter(tmp_path, "u2net_human_seg")


def test_mask_iou_thresholds_at_one_half():
    first, second = plane((slice(0, 4), slice(0, 6))), plane((slice(2, 4), slice(0, 9)))
    assert mask_iou(first, second) == pytest.approx(12 / (24 + 18 - 12))
    assert mask_iou(first, plane((slice(0, 4), slice(0, 6)), value=128)) == 1
    assert mask_iou(first, plane((slice(0, 4), slice(0, 6)), value=127)) == 0
    assert mask_iou(plane(), plane()) == 1
