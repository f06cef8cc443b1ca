"""Who is person and who is background: the alpha if a picture has one, else what a segmentation model says.

The model is MediaPipe's selfie segmentation (Apache-2.0), run by OpenCV on the face's own square;
of what it finds the part under the face stays.
"""

from pathlib import Path

import cv2
import numpy as np

from portraitist.clean import RefusedError
from portraitist.crop import Square, open_tflite
from portraitist.manifest import Verdict
from portraitist.params import CropParams, MaskParams
from portraitist.pictures import Picture, Plane

MODEL = "selfie_segmentation.tflite"
MODEL_SIDE = 256
MODEL_OUTPUT = "activation_10"
GRABCUT_ROUNDS = 3
SURE_BACKGROUND, SURE_PERSON = 13, 242  # of 255: GrabCut may move what lies between, and the rim of both
RIM = 0.03  # of the side: how far GrabCut may move the edge


class Segmenter:
    """Soft person masks of pictures; `pretrained` is the folder that stage `weights` leaves."""

    def __init__(self, pretrained: Path) -> None:
        self.net = open_tflite(pretrained / MODEL)

    def __call__(self, picture: Picture) -> Plane:
        """The chance, of 255, that each pixel is a person."""
        height, width = picture.shape[:2]
        smooth = cv2.INTER_AREA if max(height, width) > MODEL_SIDE else cv2.INTER_CUBIC
        square = cv2.resize(picture, (MODEL_SIDE, MODEL_SIDE), interpolation=smooth)
        self.net.setInput(np.ascontiguousarray((square.astype(np.float32) / 255).transpose(2, 0, 1)[None]))
        chance = self.net.forward([MODEL_OUTPUT])[0].reshape(MODEL_SIDE, MODEL_SIDE)
        chance = cv2.resize(chance, (width, height), interpolation=cv2.INTER_LINEAR)
        return (chance.clip(0, 1) * 255).round().astype(np.uint8)


def person_mask(square: Square, segmenter: Segmenter, params: MaskParams, frame: CropParams) -> Plane:
    """The mask of the one person a square was made around: 255 is person. The alpha, where there is one.

    Raises:
        RefusedError: Next to nothing, or next to everything, is person.
    """
    mask = segment(square, segmenter, params, frame) if square.alpha is None else square.alpha
    share = float(mask.mean()) / 255
    if share < params.min_person:
        raise RefusedError(Verdict.NO_PERSON, f"{share:.0%} of the crop is person, {params.min_person:.0%} needed")
    if share > params.max_person:
        raise RefusedError(Verdict.NO_BACKGROUND, f"{share:.0%} of the crop is person, {params.max_person:.0%} at most")
    return mask


def segment(square: Square, segmenter: Segmenter, params: MaskParams, frame: CropParams) -> Plane:
    """The person that the segmenter sees under the face, whatever its share; nothing beyond the picture's border."""
    mask = under_face(segmenter(square.picture), frame)
    if params.refine == "grabcut":
        mask = grabcut(square.picture, mask)
    return np.minimum(mask, square.inside)


def under_face(mask: Plane, frame: CropParams) -> Plane:
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


def grabcut(picture: Picture, mask: Plane) -> Plane:
    """The mask with its edge moved to where the colours part (Rother et al. 2004), and softened by a pixel."""
    rim = max(1, round(mask.shape[0] * RIM))
    kernel = np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)
    labels = np.where(mask > 127, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[cv2.erode((mask > SURE_PERSON).astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    labels[cv2.erode((mask < SURE_BACKGROUND).astype(np.uint8), kernel) > 0] = cv2.GC_BGD
    if not ((labels == cv2.GC_FGD).any() and (labels == cv2.GC_BGD).any()):
        return mask
    cv2.setRNGSeed(0)  # its colour clusters are drawn
    cv2.grabCut(picture, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    hard = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    return cv2.GaussianBlur(hard, (3, 3), 0)


def overlap(mask: Plane, truth: Plane) -> float:
    """Intersection over union of two masks at one half; two empty ones agree."""
    one, other = mask > 127, truth > 127
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
