"""Alpha compositing, and extension of the foreground's colours."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture

# For `extend_foreground`: half-widths of the averaging windows, as fractions of the picture's longer side.
WINDOWS = (0.02, 0.05, 0.15, 0.5, 1.0)


def alpha_composite(picture: Picture, alpha: MaskArray, back: Picture | tuple[int, int, int]) -> Picture:
    """Composite a picture over `back`: another picture of the same size, or one RGB colour (0 to 255)."""
    opacity = alpha[..., None].astype(np.float32) / 255
    return (picture * opacity + np.asarray(back, np.float32) * (1 - opacity)).round().astype(np.uint8)


def extend_foreground(picture: Picture, mask: MaskArray) -> Picture:
    """Replace the colour of every pixel outside the foreground by the foreground's colour near it.

    The foreground is where the mask is 255. Each replaced pixel gets the mean foreground colour of a square window
    around it. Windows of increasing size are tried until one contains foreground; the largest one always does. The soft
    edge of the mask is replaced as well, because the picture's colours there are mixed with the background.
    """
    image, foreground = picture.astype(np.float32), (mask == 255).astype(np.float32)
    if not foreground.any():
        return picture
    extended = image * foreground[..., None]
    filled = foreground
    for window in WINDOWS:
        side = 2 * max(1, round(window * max(mask.shape))) + 1
        weight = cv2.blur(foreground, (side, side))
        new = (filled == 0) & (weight > 0)
        extended[new] = cv2.blur(image * foreground[..., None], (side, side))[new] / weight[new, None]
        filled = np.maximum(filled, new)
        if filled.all():
            break
    return extended.clip(0, 255).round().astype(np.uint8)
