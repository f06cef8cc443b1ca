"""The detector's face in each selfie, and in what was painted of it."""

import numpy as np

from portraitist.crop.geometry import LEFT_EYE, RIGHT_EYE, Face
from portraitist.evaluate.registry import AT_ONCE, Evidence, Stack
from portraitist.learning.tensors import to_pictures

DETECTOR = "BlazeFace full range, short range, closer looks"


def pairs(evidence: Evidence) -> list[tuple[Face | None, Face | None]]:
    """Each selfie's face and its avatar's; none where the detector sees none."""

    def faces(stack: Stack) -> list[Face | None]:
        starts = range(0, len(stack), AT_ONCE)
        return [evidence.find(picture) for at in starts for picture in to_pictures(stack[at : at + AT_ONCE])]

    return evidence.once("faces", lambda: list(zip(faces(evidence.selfies), faces(evidence.painted), strict=True)))


def moved(one: Face, other: Face) -> float:
    """Mean distance of six points, in per cent of the first face's distance of the eyes."""
    eyes = float(np.linalg.norm(one.points[RIGHT_EYE] - one.points[LEFT_EYE]))
    return 100 * float(np.linalg.norm(one.points - other.points, axis=1).mean()) / max(eyes, 1e-6)
