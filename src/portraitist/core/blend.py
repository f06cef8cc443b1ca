"""Alpha compositing of pictures."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture

WINDOWS = (0.02, 0.05, 0.15, 0.5)  # half-widths of the averaging windows, as fractions of the longer side

FUSION_WINDOWS = (0.3, 0.09, 0.012)  # of `estimate_foreground`, likewise
MIN_WEIGHT = 1e-4


def alpha_composite(picture: Picture, alpha: MaskArray, back: Picture | tuple[int, int, int]) -> Picture:
    """Composite a picture over a background, which is a picture of the same size or one colour."""
    opacity = alpha[..., None].astype(np.float32) / 255
    return (picture * opacity + np.asarray(back, np.float32) * (1 - opacity)).round().astype(np.uint8)


def estimate_foreground(picture: Picture, alpha: MaskArray) -> Picture:
    """Estimate the foreground's colours under a soft alpha, and extend them over the rest of the picture.

    Blur fusion (Forte, Approximate Fast Foreground Colour Estimation, ICIP 2021) in two passes.
    """
    image, opacity = picture.astype(np.float32), alpha[..., None].astype(np.float32) / 255
    if not alpha.any():
        return picture
    foreground = background = image
    for window in FUSION_WINDOWS:
        side = 2 * max(1, round(window * max(alpha.shape))) + 1
        foreground_mean = _weighted_blur(foreground, opacity, side, foreground)
        background_mean = _weighted_blur(background, 1 - opacity, side, background)
        error = image - opacity * foreground_mean - (1 - opacity) * background_mean
        foreground, background = (foreground_mean + opacity * error).clip(0, 255), background_mean
    return foreground.round().astype(np.uint8)


def _weighted_blur(image: np.ndarray, weight: np.ndarray, side: int, fallback: np.ndarray) -> np.ndarray:
    """Blur an image with a weight for each pixel; `fallback` where the window holds no weight."""
    blurred, total = cv2.blur(image * weight, (side, side)), cv2.blur(weight, (side, side))[..., None]
    return np.where(total > MIN_WEIGHT, blurred / np.maximum(total, MIN_WEIGHT), fallback)


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
