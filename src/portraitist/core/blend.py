"""Alpha compositing of pictures."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture

WINDOWS = (0.02, 0.05, 0.15, 0.5)  # half-widths of the averaging windows, as fractions of the longer side


def alpha_composite(picture: Picture, alpha: MaskArray, back: Picture | tuple[int, int, int]) -> Picture:
    """Composite a picture over a background, which is a picture of the same size or one colour."""
    opacity = alpha[..., None].astype(np.float32) / 255
    return (picture * opacity + np.asarray(back, np.float32) * (1 - opacity)).round().astype(np.uint8)


def extend_foreground(picture: Picture, mask: MaskArray) -> Picture:
    """Extend the colours of the pixels where the mask is 255 over all other pixels.

    Each other pixel gets the mean foreground colour of the smallest window around it that contains any. The person's
    colours then reach under the soft edge of the mask, where the picture itself is blended with its background.
    """
    image, foreground = picture.astype(np.float32), (mask == 255).astype(np.float32)
    if not foreground.any():
        return picture
    extended = image * foreground[..., None]
    filled = foreground
    for window in WINDOWS:
        side = 2 * max(1, round(window * max(mask.shape))) + 1
        weight = cv2.blur(foreground, (side, side))
        new = (filled == 0) & (weight > 1e-4)
        extended[new] = (cv2.blur(image * foreground[..., None], (side, side)) / np.maximum(weight, 1e-4)[..., None])[
            new
        ]
        filled = np.maximum(filled, new)
    return extended.clip(0, 255).round().astype(np.uint8)
