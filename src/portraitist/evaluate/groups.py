"""Group the test selfies by skin tone, light and pose, all measured in the picture. Ethnicity is not estimated."""

import numpy as np

from portraitist.core.types import Picture
from portraitist.crop.geometry import LEFT_EYE, NOSE, RIGHT_EYE, Face
from portraitist.evaluate.data import BATCH_SIZE, EvaluationData
from portraitist.evaluate.faces import face_pairs
from portraitist.evaluate.skin import SkinMask, skin_mask, to_lab
from portraitist.learning.tensors import to_pictures

# Classes of skin tone, by the lower bound of the individual typology angle in degrees (Chardon et al., 1991; names by
# Del Bino and Bernerd, 2013). The angle is measured in the picture, so it includes the effect of light and camera.
TONES = {55: "very light", 41: "light", 28: "intermediate", 10: "tan", -30: "brown", -91: "dark"}
SIDE_LIGHT = 12.0  # difference of lightness L (0 to 100) between the halves of the face, above which light is one-sided
DIM, BRIGHT = 40.0, 65.0  # a picture is dim or bright if its mean lightness L (0 to 100) is below DIM or above BRIGHT
MAX_FRONTAL_OFFSET = 0.15  # offset of the nose from the eyes' midpoint, as a fraction of the distance between the eyes


def skin_tone(colour: np.ndarray) -> str:
    """Return the name of the tone class of a CIELAB skin colour (L, a, b)."""
    angle = float(np.degrees(np.arctan2(colour[0] - 50, colour[2])))
    return next((name for bound, name in TONES.items() if angle > bound), "dark")


def lighting(picture: Picture, skin: SkinMask) -> str:
    """Return "from a side" if the skin of one half of the face is much lighter; else "dim", "even" or "bright"."""
    lightness = to_lab(picture)[..., 0]
    half = picture.shape[1] // 2
    left, right = lightness[:, :half][skin[:, :half]], lightness[:, half:][skin[:, half:]]
    if len(left) and len(right) and abs(left.mean() - right.mean()) > SIDE_LIGHT:
        return "from a side"
    mean = lightness.mean()
    return "dim" if mean < DIM else "bright" if mean > BRIGHT else "even"


def pose(face: Face | None) -> str:
    """Return "front", "to the left" or "to the right": the direction of the nose as the viewer sees it.

    Return "no face found" if `face` is None.
    """
    if face is None:
        return "no face found"
    right, left = face.points[RIGHT_EYE], face.points[LEFT_EYE]
    eyes = left - right
    offset = float((face.points[NOSE] - (left + right) / 2) @ eyes / max(float(eyes @ eyes), 1e-6))
    return "front" if abs(offset) <= MAX_FRONTAL_OFFSET else "to the right" if offset > 0 else "to the left"


def group_selfies(data: EvaluationData) -> dict[str, list[str]]:
    """Return a dictionary with three lists: "tone", "light" and "pose".

    Each list has the group of each selfie, in the order of the selfies in `data`.
    """
    groups: dict[str, list[str]] = {"tone": [], "light": [], "pose": [pose(face) for face, _ in face_pairs(data)]}
    for start in range(0, len(data.selfies), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        persons = (data.masks[part][:, 0] > 0.5).cpu().numpy()
        for picture, person in zip(to_pictures(data.selfies[part]), persons, strict=True):
            skin = skin_mask(picture, person, data.crop_params)
            groups["tone"].append(skin_tone(to_lab(picture)[skin].mean(axis=0)))
            groups["light"].append(lighting(picture, skin))
    return groups
