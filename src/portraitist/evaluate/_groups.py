"""Which groups the test selfies fall into, as far as the pictures themselves tell. Nobody's origin is guessed."""

import numpy as np

from portraitist.core.types import Picture
from portraitist.crop.geometry import LEFT_EYE, NOSE, RIGHT_EYE, Face
from portraitist.evaluate._faces import pairs
from portraitist.evaluate._skin import lab, skin_of
from portraitist.evaluate.registry import AT_ONCE, Evidence
from portraitist.learning.tensors import to_pictures

# Individual typology angle of the skin, in degrees (Chardon et al. 1991; names of Del Bino and Bernerd 2013), from its
# lower bound. It is that of the picture: light and camera are in it.
TONES = {55: "very light", 41: "light", 28: "intermediate", 10: "tan", -30: "brown", -91: "dark"}
SIDE_LIT = 12.0  # of L: the halves of the face differ by more
DIM, BRIGHT = 40.0, 65.0  # of L, over the whole picture
TURNED = 0.15  # the nose's way from the middle of the eyes, in distances of the eyes


def tone(colour: np.ndarray) -> str:
    """The class of a skin's colour (L, a, b)."""
    angle = float(np.degrees(np.arctan2(colour[0] - 50, colour[2])))
    return next((name for bound, name in TONES.items() if angle > bound), "dark")


def light(picture: Picture, skin: np.ndarray) -> str:
    """Whether the face is lit from a side, and else whether the picture is dim, even or bright."""
    lightness = lab(picture)[..., 0]
    half = picture.shape[1] // 2
    left, right = lightness[:, :half][skin[:, :half]], lightness[:, half:][skin[:, half:]]
    if len(left) and len(right) and abs(left.mean() - right.mean()) > SIDE_LIT:
        return "from a side"
    mean = lightness.mean()
    return "dim" if mean < DIM else "bright" if mean > BRIGHT else "even"


def pose(face: Face | None) -> str:
    """Where the nose points, as the viewer sees it."""
    if face is None:
        return "no face found"
    right, left = face.points[RIGHT_EYE], face.points[LEFT_EYE]
    across = left - right
    way = float((face.points[NOSE] - (left + right) / 2) @ across / max(float(across @ across), 1e-6))
    return "front" if abs(way) <= TURNED else "to the right" if way > 0 else "to the left"


def groups(evidence: Evidence) -> dict[str, list[str]]:
    """Tone, light and pose of every selfie, in order."""
    found: dict[str, list[str]] = {"tone": [], "light": [], "pose": [pose(face) for face, _ in pairs(evidence)]}
    for start in range(0, len(evidence.selfies), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        people = (evidence.masks[part][:, 0] > 0.5).cpu().numpy()
        for picture, person in zip(to_pictures(evidence.selfies[part]), people, strict=True):
            skin = skin_of(picture, person, evidence.frame)
            found["tone"].append(tone(lab(picture)[skin].mean(axis=0)))
            found["light"].append(light(picture, skin))
    return found
