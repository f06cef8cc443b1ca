"""Alpha compositing, and estimation of the foreground's colours."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture

# For `extend_foreground`: half-widths of the averaging windows, as fractions of the picture's longer side.
WINDOWS = (0.02, 0.05, 0.15, 0.5)
# For `estimate_foreground`: half-widths of the windows (the same unit), the alpha (0 to 1) above which a pixel's colour
# counts as foreground, and the weight of the previous, wider window's mean in each window.
FOREGROUND_WINDOWS, MIN_OPACITY, WIDER_WEIGHT = (0.3, 0.09, 0.025, 0.01), 0.85, 0.01


def alpha_composite(picture: Picture, alpha: MaskArray, back: Picture | tuple[int, int, int]) -> Picture:
    """Composite a picture over `back`: another picture of the same size, or one RGB colour (0 to 255)."""
    opacity = alpha[..., None].astype(np.float32) / 255
    return (picture * opacity + np.asarray(back, np.float32) * (1 - opacity)).round().astype(np.uint8)


def estimate_foreground(picture: Picture, alpha: MaskArray) -> Picture:
    """Remove the background's colours from partly transparent pixels, and put nearby foreground colours there.

    Each pixel becomes a blend of its own colour and a mean foreground colour. Its own colour has weight 1 at alpha 255,
    and weight 0 if alpha / 255 is at most `MIN_OPACITY`. Fully transparent pixels are therefore replaced as well. If
    every pixel has weight 0, the picture is returned unchanged.

    The mean covers a square window around the pixel; pixels with a higher alpha count more (normalized convolution,
    Knutsson and Westin, CVPR 1993). Four window sizes are used, the widest one first. If a window contains little
    foreground, the result of the next wider window has more influence.
    """
    image = picture.astype(np.float32)
    weight = ((alpha[..., None].astype(np.float32) / 255 - MIN_OPACITY) / (1 - MIN_OPACITY)).clip(0, 1)
    if not weight.any():
        return picture
    mean = np.broadcast_to((image * weight).sum(axis=(0, 1)) / weight.sum(), image.shape)
    for window in FOREGROUND_WINDOWS:
        side = 2 * max(1, round(window * max(alpha.shape))) + 1
        total = cv2.blur(weight, (side, side))[..., None]
        mean = (cv2.blur(image * weight, (side, side)) + WIDER_WEIGHT * mean) / (total + WIDER_WEIGHT)
    return (mean + weight * (image - mean)).round().astype(np.uint8)


def extend_foreground(picture: Picture, mask: MaskArray) -> Picture:
    """Replace the colour of every pixel outside the foreground by the foreground's colour near it.

    The foreground is where the mask is 255. Each replaced pixel gets the mean foreground colour of a square window
    around it. Four window sizes are tried, the smallest one first, until a window contains foreground. The soft edge of
    the mask is replaced as well, because the picture's colours there are mixed with the background.
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
