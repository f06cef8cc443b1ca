"""Who is person and who is background: the alpha if a picture has one, else what a segmentation model says.

The model is MediaPipe's selfie segmentation (Apache-2.0), and a small U-Net that corrects it on paintings, dress and
edges (data/refiner); or the U²-Net that `rembg` offers, which is downloaded. OpenCV runs all of them on the face's own
square; of what they find the part under the face stays.
"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.clean.decode import RejectedError
from portraitist.core.outcome import Status
from portraitist.core.types import HALF_RANGE, MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import CropImage
from portraitist.crop.detector import open_tflite
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskModel, MaskParams

SELFIE_MODEL = "selfie_segmentation.tflite"
SELFIE_SIDE = 256
SELFIE_OUTPUT = "activation_10"
REFINER_MODEL = "person_refiner.onnx"
REFINED_SIDE = 256
# The refiner's chances from which on there is nothing, and all, of a person: a person is opaque, and its edge soft.
# Their middle, .4, is where painted portraits are cut best (docs/faces.md).
NOBODY, SOMEBODY = 0.1, 0.7
DOWNLOADED = "u2net_human_seg"
DOWNLOADED_SIDE = 320
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # ImageNet's, as U²-Net expects them
SEGMENTER_FILES: dict[MaskModel, tuple[str, ...]] = {  # of the folder that stage `weights` leaves, by what needs them
    "refined": (SELFIE_MODEL, REFINER_MODEL),
    "selfie": (SELFIE_MODEL,),
    "u2net_human_seg": (f"{DOWNLOADED}.onnx",),
}
Seen = Float32[np.ndarray, "1 16 half half"]


class Segmenter:
    """Soft person masks of pictures; `pretrained` is the folder that stage `weights` leaves."""

    def __init__(self, pretrained: Path, model: MaskModel = "refined") -> None:
        looks: dict[str, Callable[[Path], Callable[[Picture], SquareMaskArray]]]
        looks = {"refined": _Refined, "selfie": _Selfie, DOWNLOADED: _Downloaded}
        self.look = looks[model](pretrained)

    def __call__(self, picture: Picture) -> MaskArray:
        """The chance, of 255, that each pixel is a person."""
        height, width = picture.shape[:2]
        return cv2.resize(self.look(picture), (width, height), interpolation=cv2.INTER_LINEAR)


class _Selfie:
    """MediaPipe's model."""

    def __init__(self, pretrained: Path) -> None:
        self.net = open_tflite(pretrained / SELFIE_MODEL)

    def __call__(self, picture: Picture) -> SquareMaskArray:
        square = _sized(picture, SELFIE_SIDE).astype(np.float32) / 255
        self.net.setInput(np.ascontiguousarray(square.transpose(2, 0, 1)[None]))
        return _bytes(self.net.forward([SELFIE_OUTPUT])[0].reshape(SELFIE_SIDE, SELFIE_SIDE))


class _Refined:
    """The same, corrected by a network that sees the picture too."""

    def __init__(self, pretrained: Path) -> None:
        self.selfie, self.net = _Selfie(pretrained), open_onnx(pretrained / REFINER_MODEL)

    def __call__(self, picture: Picture) -> SquareMaskArray:
        self.net.setInput(folded(_sized(picture, REFINED_SIDE), self.selfie(picture)))
        logits = self.net.forward().reshape(2, 2, REFINED_SIDE // 2, REFINED_SIDE // 2)
        unfolded = logits.transpose(2, 0, 3, 1).reshape(REFINED_SIDE, REFINED_SIDE)
        chance = 1 / (1 + np.exp(-unfolded.clip(-30, 30)))
        return _bytes((chance - NOBODY) / (SOMEBODY - NOBODY))


class _Downloaded:
    """U²-Net, trained on people (Qin et al. 2020); it answers in a range of its own."""

    def __init__(self, pretrained: Path) -> None:
        self.net = open_onnx(pretrained / f"{DOWNLOADED}.onnx")
        # the best of its seven answers is the first; they are numbered, and OpenCV's engines list them in any order
        self.answers = list(self.net.getUnconnectedOutLayersNames())
        self.best = self.answers.index(min(self.answers, key=lambda name: (len(name), name)))

    def __call__(self, picture: Picture) -> SquareMaskArray:
        square = _sized(picture, DOWNLOADED_SIDE).astype(np.float64)
        scaled = (square / max(float(square.max()), 1e-6) - MEAN) / SPREAD
        self.net.setInput(np.ascontiguousarray(scaled.astype(np.float32).transpose(2, 0, 1)[None]))
        chance = self.net.forward(self.answers)[self.best].reshape(DOWNLOADED_SIDE, DOWNLOADED_SIDE)
        return _bytes((chance - chance.min()) / max(float(np.ptp(chance)), 1e-6))


def _sized(picture: Picture, side: int) -> SquarePicture:
    smooth = cv2.INTER_AREA if max(picture.shape) > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=smooth)


def _bytes(chance: np.ndarray) -> SquareMaskArray:
    return (chance.clip(0, 1) * 255).round().astype(np.uint8)


def folded(picture: SquarePicture, mask: SquareMaskArray) -> Seen:
    """Picture and mask as the refiner takes them: in [-1, 1], each channel's 2 x 2 pixels as four channels."""
    half = mask.shape[0] // 2
    channels = np.dstack([picture, mask]).transpose(2, 0, 1).reshape(4, half, 2, half, 2)
    fold = channels.transpose(0, 2, 4, 1, 3).reshape(1, 16, half, half)
    return np.ascontiguousarray(fold).astype(np.float32) / HALF_RANGE - 1


def open_onnx(path: Path) -> "cv2.dnn.Net":
    """An ONNX model in OpenCV.

    Raises:
        FileNotFoundError: There is no such file; stage `weights` brings it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `dvc repro weights` brings it, as mask.model says")
    return cv2.dnn.readNetFromONNX(str(path))


def person_mask(square: CropImage, segmenter: Segmenter, params: MaskParams, frame: CropParams) -> MaskArray:
    """The mask of the one person a square was made around: 255 is person. The alpha, where there is one.

    Raises:
        RejectedError: Next to nothing, or next to everything, is person.
    """
    mask = segment_person(square, segmenter, frame) if square.alpha is None else square.alpha
    share = float(mask.mean()) / 255
    if share < params.min_person:
        raise RejectedError(Status.NO_PERSON, f"{share:.0%} of the crop is person, {params.min_person:.0%} needed")
    if share > params.max_person:
        raise RejectedError(Status.NO_BACKGROUND, f"{share:.0%} of the crop is person, {params.max_person:.0%} at most")
    return mask


def segment_person(square: CropImage, segmenter: Segmenter, frame: CropParams) -> MaskArray:
    """The person that the segmenter sees under the face, whatever its share; nothing beyond the picture's border."""
    return np.minimum(under_face(segmenter(square.picture), frame), square.inside)


def under_face(mask: MaskArray, frame: CropParams) -> MaskArray:
    """The mask without what does not hang together with the face: other people, posters, hands."""
    side = mask.shape[0]
    _, parts = cv2.connectedComponents((mask > 127).astype(np.uint8))
    middle = round((frame.eye_line + frame.eye_to_mouth / 2) * side)
    reach = max(1, round(frame.eye_to_mouth / 2 * side))
    seen = parts[middle - reach : middle + reach, side // 2 - reach : side // 2 + reach]
    names = np.unique(seen[seen > 0])
    if not len(names):
        return np.zeros_like(mask)
    own = cv2.dilate(np.isin(parts, names).astype(np.uint8), np.ones((5, 5), np.uint8))  # its soft edge belongs to it
    return mask * own
