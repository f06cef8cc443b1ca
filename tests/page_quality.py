"""Checks of a web page that axe-core does not make: contrast in pixels, sizes of text and targets, focus, metadata.

Each check returns a list of faults, one line each. Numbers are those of WCAG 2.2, level AA, or of Lighthouse.
"""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MIN_TARGET_PX = 24  # WCAG 2.5.8
MIN_FONT_PX = 12  # Lighthouse
LARGE_PX, LARGE_BOLD_PX = 24, 18.66  # large text, for which a contrast of 3 is enough
MAX_LAYOUT_SHIFT = 0.1  # Lighthouse, "good"
EDGE_STEPS, OUTSIDE_PX = range(-3, 5), 5  # distances from a control's edge of its border, and of the page around it
MIN_FOCUS_PX = 60  # changed pixels that make a focus indicator
SCRIPT = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")


def measure(page: Any, function: str, *arguments: Any) -> Any:
    """Call a function of page_quality.js."""
    return page.evaluate(f"(argument) => {{ {SCRIPT}\nreturn {function}(argument) }}", *arguments)


def pixels(page: Any, **options: Any) -> np.ndarray:
    """Return a screenshot as RGB, uint8."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB"))


def luminance(colours: Any) -> np.ndarray:
    """Return the relative luminance, as WCAG defines it, of colours from 0 to 255; the last axis is RGB."""
    parts = np.asarray(colours, float) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one: Any, other: Any) -> np.ndarray:
    """Return the contrast ratios of colours, from 1 to 21."""
    low, high = np.sort(np.stack(np.broadcast_arrays(luminance(one), luminance(other))), axis=0)
    return (high + 0.05) / (low + 0.05)


def low_text_contrast(page: Any) -> list[str]:
    """Return the texts that have too little contrast with the pixels behind them, which may be those of a picture."""
    page.evaluate("scrollTo(0, 0)")  # a sticky header covers other elements if the page is scrolled
    texts = measure(page, "texts")
    measure(page, "hideTexts")
    behind = pixels(page, full_page=True)
    page.evaluate("document.adoptedStyleSheets = []")
    faults = []
    for text in texts:
        minimum = 3 if text["px"] >= (LARGE_BOLD_PX if text["bold"] else LARGE_PX) else 4.5
        for rect in text["rects"]:
            left, top, width, height = (round(number) for number in rect)
            area = behind[top : top + height, left : left + width].reshape(-1, 3)
            if len(area):
                shown = text["alpha"] * np.asarray(text["colour"]) + (1 - text["alpha"]) * area
                ratio = np.percentile(contrast(shown, area), 2)  # a border may touch the rectangle of a text
                if ratio < minimum - 0.01:
                    faults.append(f"{ratio:.2f} < {minimum}: {text['html']}")
    return faults


def low_control_contrast(page: Any) -> list[str]:
    """Return the controls with an edge that has a contrast below 3 with the page around it (WCAG 1.4.11)."""
    page.evaluate("scrollTo(0, 0)")
    controls, shot = measure(page, "controls"), pixels(page, full_page=True)
    bottom, right = np.array(shot.shape[:2]) - 1

    def pixel(x: float, y: float) -> np.ndarray:
        return shot[int(np.clip(y, 0, bottom)), int(np.clip(x, 0, right))]

    faults = []
    for control in controls:
        left, top, width, height = control["rect"]
        x, y = left + width / 2, top + height / 2
        page_colour = pixel(left - OUTSIDE_PX, top - OUTSIDE_PX)
        lines = [
            [pixel(left + step, y) for step in EDGE_STEPS],
            [pixel(x, top + step) for step in EDGE_STEPS],
            [pixel(left + width - 1 - step, y) for step in EDGE_STEPS],
            [pixel(x, top + height - 1 - step) for step in EDGE_STEPS],
        ]
        for line, border in zip(lines, control["sides"], strict=True):
            if border is not None:
                ratio = contrast(
                    [*line, border or line[0]], page_colour
                ).max()  # thin borders are blended in the pixels
                if ratio < 3:
                    faults.append(f"{ratio:.2f} < 3: {control['html']}")
                    break
    return faults


def small_texts(page: Any) -> list[str]:
    return [f"{text['px']:.1f} px: {text['html']}" for text in measure(page, "texts") if text["px"] < MIN_FONT_PX]


def small_targets(page: Any) -> list[str]:
    return measure(page, "smallTargets", MIN_TARGET_PX)


def horizontal_scrolling(page: Any) -> list[str]:
    width, limit = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return [f"{width} px wide in a window of {limit} px"] if width > limit else []


def missing_metadata(page: Any) -> list[str]:
    return measure(page, "missingMetadata")


def unsized_images(page: Any) -> list[str]:
    return measure(page, "unsizedImages")


def invisible_focus(page: Any) -> list[str]:
    """Press Tab until the first element is reached again; return the elements whose focus changes too few pixels.

    An element is checked once in the life of a page.
    """
    faults = []
    measure(page, "startRound")
    page.keyboard.press("Tab")
    while (element := measure(page, "focusedElement")) is not None:
        if element:
            focused = pixels(page)
            page.evaluate("document.activeElement.blur()")
            blurred = pixels(page)
            changed = (focused != blurred).any(axis=-1)
            if (contrast(focused[changed], blurred[changed]) >= 3).sum() < MIN_FOCUS_PX:
                faults.append(element)
        page.keyboard.press("Tab")
    return faults


def moving_elements(page: Any) -> list[str]:
    """Return the elements that move although the user prefers reduced motion."""
    return measure(page, "movingElements")


def layout_shift(page: Any) -> list[str]:
    """Return the cumulative layout shift of a page that was loaded without input, if it is too large."""
    shift = measure(page, "layoutShift")
    return [f"{shift:.3f} > {MAX_LAYOUT_SHIFT}"] if shift > MAX_LAYOUT_SHIFT else []


CHECKS: tuple[Callable[[Any], list[str]], ...] = (
    low_text_contrast,
    low_control_contrast,
    small_texts,
    small_targets,
    horizontal_scrolling,
    missing_metadata,
    unsized_images,
    invisible_focus,
)


def faults(page: Any) -> list[str]:
    """Return the faults that all checks in `CHECKS` find in the present state of a page."""
    return [f"{check.__name__}: {fault}" for check in CHECKS for fault in check(page)]
