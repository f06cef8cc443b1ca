"""Measure the crops of rotated selfies, and of faces that fill the picture beside a small face.

    python -m benchmarks.unusual_selfies FOLDER --every 4

FOLDER contains selfies, of which every n-th is used. The first table counts how often a rotated picture gives the same
crop as the upright one. For the second table, a selfie is cut to its face, and another selfie is pasted into a corner;
the table counts how often the large face is cropped.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from portraitist.clean.decode import CleanPicture, RejectedError, decode_picture
from portraitist.core.params import load
from portraitist.core.types import Picture
from portraitist.crop.align import Crop, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import MOUTH, RIGHT_EYE, Landmarks
from portraitist.crop.params import CropParams

PRETRAINED = Path("models/pretrained")
SIDE = 256
MAX_DIFFERENCE = 25.0  # mean absolute difference of the crops of a picture and its rotated copy, of 255
TIGHT, SMALL = 512, 110  # sides of a picture that a face fills, and of the one pasted into it, in pixels
MAX_DISTANCE = 0.15  # between the centres of eyes and mouth, as a fraction of the picture's side


def upright_crops(folder: Path, every: int, detector: FaceDetector, params: CropParams) -> Iterator[tuple[str, Any]]:
    """Yield name, picture and crop of each selfie with a usable face."""
    for path in sorted(folder.iterdir())[::every]:
        try:
            picture = decode_picture(path.read_bytes(), max_side_px=1024).picture
        except RejectedError:
            continue
        crop = crop_faces(CleanPicture(picture, None), detector, params)[0]
        if isinstance(crop, Crop):
            yield path.name, (picture, crop)


def outcome_of_rotation(
    picture: Picture, expected: Crop, turns: int, detector: FaceDetector, params: CropParams
) -> str:
    """Crop a picture after quarter turns, and compare it with the crop of the upright one."""
    rotated = np.ascontiguousarray(np.rot90(picture, turns))
    crop = crop_faces(CleanPicture(rotated, None), detector, params)[0]
    if isinstance(crop, RejectedError):
        return "rejected"
    difference = np.abs(crop.square.picture.astype(float) - expected.square.picture).mean()
    return "righted" if difference < MAX_DIFFERENCE else "different"


def centre(points: Landmarks) -> np.ndarray:
    """Return the mean position of eyes and mouth."""
    return points[RIGHT_EYE : MOUTH + 1].mean(axis=0)


def outcome_of_tight(picture: Picture, crop: Crop, small: Picture, detector: FaceDetector, params: CropParams) -> str:
    """Cut a picture to its face, paste another one into a corner, and return which face is cropped."""
    side, (x, y) = crop.face.side_px, centre(crop.face.points)
    scale = TIGHT / (1.05 * side)
    to_tight = np.array([[scale, 0, TIGHT / 2 - scale * x], [0, scale, 0.55 * TIGHT - scale * y]], np.float32)
    tight = cv2.warpAffine(picture, to_tight, (TIGHT, TIGHT), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    tight[:SMALL, :SMALL] = cv2.resize(small, (SMALL, SMALL), interpolation=cv2.INTER_AREA)
    found = crop_faces(CleanPicture(tight, None), detector, params)[0]
    if isinstance(found, RejectedError):
        return "rejected"
    distance = np.linalg.norm(centre(found.face.points) - [TIGHT / 2, 0.55 * TIGHT])
    return "large face" if distance < MAX_DISTANCE * TIGHT else "small face"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--pretrained", type=Path, default=PRETRAINED)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    params = load(CropParams, "crop").model_copy(update={"size_px": SIDE, "max_upscale": 8.0})
    detector = FaceDetector(arguments.pretrained)
    rotations = {90 * turns: Counter[str]() for turns in (1, 2, 3)}
    tight, small, count = Counter[str](), None, 0
    for name, (picture, crop) in upright_crops(arguments.folder, arguments.every, detector, params):
        count += 1
        for degrees, counts in rotations.items():
            outcome = outcome_of_rotation(picture, crop, degrees // 90, detector, params)
            counts[outcome] += 1
            if outcome == "different":
                print(f"{name}: different when rotated by {degrees} degrees")
        if small is not None:
            tight[outcome_of_tight(picture, crop, small, detector, params)] += 1
        small = crop.square.picture
    rows = [{"degrees": degrees} | counts for degrees, counts in rotations.items()]
    for title, table in ((f"{count} rotated selfies", rows), ("faces that fill the picture", [dict(tight)])):
        print(f"\n### {title}\n\n{pd.DataFrame(table).fillna(0).to_markdown(index=False, floatfmt='g')}")


if __name__ == "__main__":
    main()
