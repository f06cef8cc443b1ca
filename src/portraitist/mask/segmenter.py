"""Person segmentation: the mask of a person is a picture's alpha channel, or else computed by a segmentation model.

The default model (`refined`) consists of two networks. MediaPipe's selfie segmentation (Apache-2.0) computes a mask.
Then the refiner, a U-Net (data/refiner), corrects errors in this mask, for example in paintings and on clothes.
`selfie` is MediaPipe's network alone. `u2net_human_seg` is U²-Net as `rembg` distributes it, and is downloaded. OpenCV
runs all models on the aligned crop. Only the part of the mask that is connected to the face is used.
"""

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.clean.decode import RejectedError
from portraitist.core.blend import extend_foreground
from portraitist.core.geometry import mask_iou
from portraitist.core.outcome import Status
from portraitist.core.types import HALF_RANGE, MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import CropImage
from portraitist.crop.detector import PretrainedModels, open_tflite, pretrained_path
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskModel, MaskParams

SELFIE_MODEL = "selfie_segmentation.tflite"
SELFIE_SIDE = 256
SELFIE_OUTPUT = "activation_10"
REFINER_MODEL = "person_refiner.onnx"
REFINED_SIDE = 256
# Probabilities of the refiner that become 0 and 255 in the mask, so that a person is opaque with a soft edge. Lower
# values keep more of the background (docs/faces.md).
ZERO_PROBABILITY, FULL_PROBABILITY = 0.3, 0.8
DOWNLOADED = "u2net_human_seg"
DOWNLOADED_SIDE = 320
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])  # of ImageNet, for U²-Net's inputs
SEGMENTER_FILES: dict[MaskModel, tuple[str, ...]] = {  # of each model, in the folder that stage `weights` writes
    "refined": (SELFIE_MODEL, REFINER_MODEL),
    "selfie": (SELFIE_MODEL,),
    "u2net_human_seg": (f"{DOWNLOADED}.onnx",),
}
# An alpha channel is used as person mask if its intersection over union with the segmenter's mask is at least
# MIN_ALPHA_IOU. The alpha of a round picture is convex, a person's alpha almost never is. If the opaque area is more
# than CONVEX times the area of its convex hull, the intersection over union must be at least MIN_CONVEX_ALPHA_IOU.
OPAQUE = 250  # alpha (0 to 255) from which a pixel's colour is used
MIN_TRANSPARENT = 0.02  # smallest transparent share of the crop's area inside the picture
CONVEX = 0.95
MIN_ALPHA_IOU, MIN_CONVEX_ALPHA_IOU = 0.7, 0.9
RefinerInput = Float32[np.ndarray, "1 16 half half"]
MaskOrigin = Literal["alpha", "segmenter"]


class Segmenter:
    """Segmentation model that predicts soft person masks.

    Args:
        pretrained: the folder that stage `weights` writes, or a dictionary from file names to the bytes of the files.
            `SEGMENTER_FILES` lists the files of each model.
        model: the segmentation model to use.
    """

    def __init__(self, pretrained: PretrainedModels, model: MaskModel = "refined") -> None:
        networks: dict[str, Callable[[PretrainedModels], Callable[[Picture], SquareMaskArray]]]
        networks = {"refined": _Refined, "selfie": _Selfie, DOWNLOADED: _Downloaded}
        self.network = networks[model](pretrained)

    def __call__(self, picture: Picture) -> MaskArray:
        """Return for each pixel the probability that it belongs to a person, as 0 to 255, in the picture's size."""
        height, width = picture.shape[:2]
        return cv2.resize(self.network(picture), (width, height), interpolation=cv2.INTER_LINEAR)


class _Selfie:
    """MediaPipe's selfie segmentation."""

    def __init__(self, pretrained: PretrainedModels) -> None:
        self.net = open_tflite(pretrained, SELFIE_MODEL)

    def __call__(self, picture: Picture) -> SquareMaskArray:
        square = _resize(picture, SELFIE_SIDE).astype(np.float32) / 255
        self.net.setInput(np.ascontiguousarray(square.transpose(2, 0, 1)[None]))
        return _to_uint8(self.net.forward([SELFIE_OUTPUT])[0].reshape(SELFIE_SIDE, SELFIE_SIDE))


class _Refined:
    """MediaPipe's selfie segmentation, corrected by a second network, whose inputs are the picture and the mask."""

    def __init__(self, pretrained: PretrainedModels) -> None:
        self.selfie, self.net = _Selfie(pretrained), open_onnx(pretrained, REFINER_MODEL)

    def __call__(self, picture: Picture) -> SquareMaskArray:
        self.net.setInput(space_to_depth(_resize(picture, REFINED_SIDE), self.selfie(picture)))
        logits = self.net.forward().reshape(2, 2, REFINED_SIDE // 2, REFINED_SIDE // 2)
        logits = logits.transpose(2, 0, 3, 1).reshape(REFINED_SIDE, REFINED_SIDE)
        probability = 1 / (1 + np.exp(-logits.clip(-30, 30)))
        return _to_uint8((probability - ZERO_PROBABILITY) / (FULL_PROBABILITY - ZERO_PROBABILITY))


class _Downloaded:
    """U²-Net trained on people (Qin et al. 2020); the output for each picture is normalized to [0, 1]."""

    def __init__(self, pretrained: PretrainedModels) -> None:
        self.net = open_onnx(pretrained, f"{DOWNLOADED}.onnx")
        # The network has seven outputs with numbered names, in an order that depends on OpenCV's engine. The lowest
        # number is that of the final mask.
        self.outputs = list(self.net.getUnconnectedOutLayersNames())
        self.final = self.outputs.index(min(self.outputs, key=lambda name: (len(name), name)))

    def __call__(self, picture: Picture) -> SquareMaskArray:
        square = _resize(picture, DOWNLOADED_SIDE).astype(np.float64)
        scaled = (square / max(float(square.max()), 1e-6) - MEAN) / STD
        self.net.setInput(np.ascontiguousarray(scaled.astype(np.float32).transpose(2, 0, 1)[None]))
        output = self.net.forward(self.outputs)[self.final].reshape(DOWNLOADED_SIDE, DOWNLOADED_SIDE)
        return _to_uint8((output - output.min()) / max(float(np.ptp(output)), 1e-6))


def _resize(picture: Picture, side: int) -> SquarePicture:
    interpolation = cv2.INTER_AREA if max(picture.shape) > side else cv2.INTER_CUBIC
    return cv2.resize(picture, (side, side), interpolation=interpolation)


def _to_uint8(probability: np.ndarray) -> SquareMaskArray:
    return (probability.clip(0, 1) * 255).round().astype(np.uint8)


def space_to_depth(picture: SquarePicture, mask: SquareMaskArray) -> RefinerInput:
    """Return the refiner's input: 16 channels with values in [-1, 1], at half the height and width.

    The picture has three channels, and its mask is the fourth. Each of these four channels is split into four smaller
    channels, one for each position in a block of 2 x 2 pixels.
    """
    half = mask.shape[0] // 2
    channels = np.dstack([picture, mask]).transpose(2, 0, 1).reshape(4, half, 2, half, 2)
    blocks = channels.transpose(0, 2, 4, 1, 3).reshape(1, 16, half, half)
    return np.ascontiguousarray(blocks).astype(np.float32) / HALF_RANGE - 1


def open_onnx(pretrained: PretrainedModels, file: str) -> "cv2.dnn.Net":
    """Open an ONNX model in OpenCV.

    Raises:
        FileNotFoundError: the file is missing; stage `weights` writes it.
    """
    with pretrained_path(pretrained, file) as path:
        return cv2.dnn.readNetFromONNX(path)


def person_mask(square: CropImage, segmenter: Segmenter, mask_params: MaskParams, crop_params: CropParams) -> MaskArray:
    """Return the mask of the person whose face is aligned in the crop: 255 is person, 0 is background.

    Raises:
        RejectedError: the person covers less than `min_person` or more than `max_person` of the crop.
    """
    mask, _ = locate_person(square, segmenter, crop_params)
    check_person_share(mask, mask_params)
    return mask


def locate_person(square: CropImage, segmenter: Segmenter, crop_params: CropParams) -> tuple[MaskArray, MaskOrigin]:
    """Return the person's mask and its origin: "alpha" for the picture's alpha channel, else "segmenter".

    If the alpha channel is not a person mask, the segmenter computes the mask, and transparent pixels do not belong to
    the person: the mask is 0 there. Before the segmenter runs, transparent pixels are replaced by the colours of nearby
    opaque pixels.

    This function does not check how much of the crop the person covers; see `check_person_share`.
    """
    if square.alpha is None:
        return segment_person(square, segmenter, crop_params), "segmenter"
    # without the outermost opaque pixels, whose colours were mixed with those of transparent ones when they were scaled
    opaque = cv2.erode(np.where(square.alpha >= OPAQUE, 255, 0).astype(np.uint8), np.ones((3, 3)))
    visible = CropImage(extend_foreground(square.picture, opaque), None, np.minimum(square.inside, square.alpha))
    segmented = segment_person(visible, segmenter, crop_params)
    if alpha_is_mask(square.alpha, segmented, square.inside):
        return square.alpha, "alpha"
    return segmented, "segmenter"


def alpha_is_mask(alpha: MaskArray, segmented: MaskArray, inside: MaskArray) -> bool:
    """Return whether an alpha channel is the mask of a person.

    Other alpha channels make a picture round, make only its corners transparent, or have few transparent pixels.

    Args:
        alpha: alpha channel of the crop.
        segmented: the segmenter's mask of the visible pixels.
        inside: 255 where the picture covers the crop.
    """
    opaque = alpha > 127
    transparent = float((~opaque)[inside > 127].mean()) if (inside > 127).any() else 0.0
    if not opaque.any() or transparent < MIN_TRANSPARENT:
        return False
    hull = np.zeros_like(alpha)
    cv2.fillConvexPoly(hull, cv2.convexHull(cv2.findNonZero(opaque.astype(np.uint8))), 1)
    convexity = float(opaque.sum()) / float(hull.sum())
    return mask_iou(alpha, segmented) >= (MIN_CONVEX_ALPHA_IOU if convexity > CONVEX else MIN_ALPHA_IOU)


def check_person_share(mask: MaskArray, mask_params: MaskParams) -> None:
    """Check that a crop contains enough of the person and enough background.

    Raises:
        RejectedError: the person covers less than `min_person` or more than `max_person` of the crop.
    """
    share, least, most = float(mask.mean()) / 255, mask_params.min_person, mask_params.max_person
    if share < least:
        raise RejectedError(Status.NO_PERSON, f"{share:.0%} of the crop is person; at least {least:.0%} is needed")
    if share > most:
        raise RejectedError(Status.NO_BACKGROUND, f"{share:.0%} of the crop is person; at most {most:.0%} is allowed")


def segment_person(square: CropImage, segmenter: Segmenter, crop_params: CropParams) -> MaskArray:
    """Return the segmenter's mask of the person whose face is aligned in the crop; 0 beyond the picture's border."""
    return np.minimum(connected_to_face(segmenter(square.picture), crop_params), square.inside)


def connected_to_face(mask: MaskArray, crop_params: CropParams) -> MaskArray:
    """Keep only the part of a crop's mask that is connected to the face. Other people, for example, become 0."""
    side = mask.shape[0]
    count, labels = cv2.connectedComponents((mask > 127).astype(np.uint8))
    face_row = round((crop_params.eye_line + crop_params.eye_to_mouth / 2) * side)
    radius = max(1, round(crop_params.eye_to_mouth / 2 * side))
    at_face = labels[face_row - radius : face_row + radius, side // 2 - radius : side // 2 + radius]
    kept = np.zeros(count, np.uint8)  # for each label, because np.unique loads much code when it is first called
    kept[at_face] = 1
    kept[0] = 0
    component = kept[labels]
    return mask * cv2.dilate(component, np.ones((5, 5), np.uint8))  # dilated, to include the soft edge
