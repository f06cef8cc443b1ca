"""Measure flicker in a painted video: how much the painting changes from frame to frame where the video does not.

    python -m benchmarks.steadiness

The video is rendered: it shows a face of the sample in front of a plain background, with the noise of a camera, while a
disc moves past the face. Each painted crop is pasted back into its frame, as by --paste-back, and compared with the
previous frame. Only pixels of the crop that do not change in the video without noise count. The video is painted by
`FaceTracker`, which smooths crop and mask over time, and also frame by frame.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from portraitist.app.avatar import Avatar, Portraitist
from portraitist.app.compositing import paste_back
from portraitist.app.selfie import read_selfie
from portraitist.app.video import FaceTracker
from portraitist.core.types import Picture

SELFIES = Path("data/sample/selfies")
SIDE_PX, FACE_PX, MARGIN_PX = 320, 256, 32
FPS, FRAMES = 25.0, 25
NOISE = 2.0  # standard deviation, of 255: a phone's camera indoors
RADIUS_PX, SPEED_PX = 18, 8  # of the disc; pixels per frame


def render(selfie: Picture, seed: int = 1) -> Iterator[tuple[Picture, Picture]]:
    """Yield noiseless and noisy frames."""
    rng = np.random.default_rng(seed)
    scene = np.full((SIDE_PX, SIDE_PX, 3), 120, np.uint8)
    inside = slice(MARGIN_PX, MARGIN_PX + FACE_PX)
    scene[inside, inside] = cv2.resize(selfie, (FACE_PX, FACE_PX), interpolation=cv2.INTER_AREA)
    for number in range(FRAMES):
        frame = cv2.circle(scene.copy(), (SPEED_PX * number, SIDE_PX - 2 * RADIUS_PX), RADIUS_PX, (40, 90, 160), -1)
        noisy = frame + rng.normal(0, NOISE, frame.shape)
        yield frame, np.rint(noisy).clip(0, 255).astype(np.uint8)


def mean_changes(paint: Callable[[Picture], Avatar], clip: Iterator[tuple[Picture, Picture]]) -> tuple[float, float]:
    """Return mean absolute changes (0 to 255) of noisy input and painting where the noiseless clip is static."""
    changes: list[tuple[float, float]] = []
    previous: list[np.ndarray] = []
    for frame, noisy in clip:
        avatar = paint(noisy)
        crop = cv2.warpAffine(
            np.ones(avatar.mask.shape, np.uint8), cv2.invertAffineTransform(avatar.transform), frame.shape[1::-1]
        )
        current = [frame.astype(int), noisy.astype(int), np.asarray(paste_back(noisy, [avatar])).astype(int), crop]
        if previous:
            rests = (current[0] == previous[0]).all(axis=2) & (crop > 0) & (previous[3] > 0)
            before, after = (np.abs(current[index] - previous[index])[rests].mean() for index in (1, 2))
            changes.append((float(before), float(after)))
        previous = current
    means = np.mean(changes, axis=0)
    return float(means[0]), float(means[1])


def main() -> None:
    """Print a row for each selfie."""
    parser = argparse.ArgumentParser(description="Measure the steadiness of painted clips.")
    parser.add_argument("--model", type=Path, default=Path("models/portraitist"))
    parser.add_argument("--selfies", nargs="+", default=["0006", "0020"])
    arguments = parser.parse_args()
    portraitist = Portraitist(arguments.model)
    print("| selfie | input | painted frame by frame | painted as a clip |\n|---|---|---|---|")
    rows = []
    for name in arguments.selfies:
        selfie = read_selfie(SELFIES / f"{name}.jpg").picture
        noise, alone = mean_changes(portraitist.paint, render(selfie))
        tracked = mean_changes(FaceTracker(portraitist, FPS), render(selfie))[1]
        rows.append((noise, alone, tracked))
        print(f"| {name} | {noise:.2f} | {alone:.2f} | {tracked:.2f} |", flush=True)
    noise, alone, tracked = np.mean(rows, axis=0)
    print(f"| mean | {noise:.2f} | {alone:.2f} | {tracked:.2f} |")


if __name__ == "__main__":
    main()
