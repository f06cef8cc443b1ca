"""Alpha compositing of pictures."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture

BLED = (0.02, 0.05, 0.15, 0.5)  # of the longer side: how far around a mean is taken, the nearest that finds something


def alpha_composite(picture: Picture, alpha: MaskArray, back: Picture | tuple[int, int, int]) -> Picture:
    """The picture laid over another picture or one colour, by alpha."""
    share = alpha[..., None].astype(np.float32) / 255
    return (picture * share + np.asarray(back, np.float32) * (1 - share)).round().astype(np.uint8)


def extend_foreground(picture: Picture, own: MaskArray) -> Picture:
    """The picture where own is 255; elsewhere the mean colour of the nearest of that, near or, failing that, far.

    So colours of a person reach under its soft edge, where the picture holds some of what was behind.
    """
    image, sure = picture.astype(np.float32), (own == 255).astype(np.float32)
    if not sure.any():
        return picture
    done = image * sure[..., None]
    known = sure
    for part in BLED:
        side = 2 * max(1, round(part * max(own.shape))) + 1
        weight = cv2.blur(sure, (side, side))
        found = (known == 0) & (weight > 1e-4)
        done[found] = (cv2.blur(image * sure[..., None], (side, side)) / np.maximum(weight, 1e-4)[..., None])[found]
        known = np.maximum(known, found)
    return done.clip(0, 255).round().astype(np.uint8)
