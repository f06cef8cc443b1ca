"""Measure crop and mask on folders of real pictures.

    python benchmarks/faces.py real --selfies DIR --portraits DIR --faces LABELS.csv [--haar PYTHON] [--mtcnn]
    python benchmarks/faces.py masks --selfies DIR --portraits DIR [--labels DIR] [--refiner FILE] [--haar PYTHON]

`masks` compares segmenters on portraits outside the training part of the split, on which the refiner was not trained.
--labels also compares them on photographs of the test part; its folder contains the masks that
data/refiner/label_photos.py writes for these photographs. --refiner is another refiner to compare.
`real` measures everything else. The alpha channel of each portrait is its exact mask, which is hidden from the
segmenters. LABELS.csv has a row `name,face` for each portrait; face is 1 if the portrait shows a person's face, else 0.
--haar is the path of Python in an environment with OpenCV 4 (see benchmarks/haar_grabcut.py). --mtcnn also locates eyes
and mouth in the crops of the selfies with MTCNN (pip install --no-deps facenet-pytorch). CPU times are those of one
thread; MB are 2^20 bytes.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from portraitist.augment.backgrounds import composite_person, draw_background, square_background
from portraitist.clean.decode import CleanPicture, decode_picture
from portraitist.core.blend import alpha_composite
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import picture_id
from portraitist.core.params import load
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import GREY, Crop, CropImage, crop_faces
from portraitist.crop.detector import FULL_RANGE, SHORT_RANGE, FaceDetector
from portraitist.crop.geometry import MOUTH, RIGHT_EYE, Face, eye_mouth_similarity, eye_to_mouth_px
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import (
    DOWNLOADED,
    REFINER_MODEL,
    Segmenter,
    connected_to_face,
    locate_person,
    segment_person,
)
from portraitist.split.assign import part_of
from portraitist.split.params import SplitParams

PRETRAINED = Path("models/pretrained")
SIDE = 256
KINDS = ("solid", "gradient", "noise", "checks", "room")
EDGE_TOLERANCE_PX = 2  # of 256, between a predicted edge and the exact one
EDGE_KERNEL = np.ones((2 * EDGE_TOLERANCE_PX + 1, 2 * EDGE_TOLERANCE_PX + 1), np.uint8)
# Where photographs are cut close to the head, in distances from the eyes to the mouth, measured from the point between
# the eyes: left, top, right and bottom.
CLOSE = np.array([-1.7, -1.65, 1.7, 2.35])
# Largest errors of a correct crop: of the eyes (fraction of the side), of the eye-to-mouth distance, of tilt (degrees).
MAX_EYE_ERROR, MAX_DISTANCE_ERROR, MAX_TILT = 0.08, 0.3, 12.0
THRESHOLDS = (64, 96, 127, 160, 192)


def table(rows: list[dict[str, Any]], title: str) -> None:
    """Print the rows as a Markdown table."""
    print(f"\n{title}\n\n{pd.DataFrame(rows).to_markdown(index=False, floatfmt='.4g')}", flush=True)


def pictures(folder: Path) -> Iterator[tuple[str, CleanPicture]]:
    """Yield the name and the picture of each file in a folder."""
    for path in sorted(folder.iterdir()):
        yield path.stem, decode_picture(path.read_bytes())


def on_grey(cleaned: CleanPicture) -> Picture:
    """Return the picture over grey where its alpha is transparent."""
    return cleaned.picture if cleaned.alpha is None else alpha_composite(cleaned.picture, cleaned.alpha, GREY)


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """Return a function's result and its CPU time in milliseconds."""
    start = time.process_time()
    result = function(*arguments)
    return result, 1000 * (time.process_time() - start)


def milliseconds(values: list[float]) -> dict[str, float]:
    """Return median and mean as columns."""
    return {"CPU ms, median": float(np.median(values)), "mean": float(np.mean(values))}


def haar(python: str, tasks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Run benchmarks/haar_grabcut.py in its own environment and return its results."""
    with tempfile.TemporaryDirectory() as folder:
        source, dest = Path(folder) / "pictures.npz", Path(folder) / "results.npz"
        np.savez(source, **tasks)  # type: ignore[arg-type]
        subprocess.run([python, "benchmarks/haar_grabcut.py", str(source), str(dest)], check=True)
        with np.load(dest) as results:
            return dict(results)


def in_box(face: Face, box: np.ndarray) -> bool:
    """Return whether a Haar box contains the centre of our landmarks."""
    x, y = face.points[RIGHT_EYE : MOUTH + 1].mean(axis=0)
    return bool(len(box)) and box[0] < x < box[0] + box[2] and box[1] < y < box[1] + box[3]


def compare_detectors(name: str, folder: Path, params: CropParams, labels: dict[str, bool], python: str | None) -> None:
    """Print recall and false detections of each detector; pictures without a label count as showing a face."""
    detector = FaceDetector(PRETRAINED)
    shown = {stem: on_grey(cleaned) for stem, cleaned in pictures(folder)}
    detectors: dict[str, Callable[[Picture], list[Face]]] = {
        "full-range": lambda picture: detector.run(FULL_RANGE, picture, params.min_score),
        "short-range": lambda picture: detector.run(SHORT_RANGE, picture, params.min_score),
        "both, verified (ours)": lambda picture: detector.detect_any(picture, params.min_score),
    }
    rows, best = [], {}
    for label, detect in detectors.items():
        results = {stem: timed(detect, picture) for stem, picture in shown.items()}
        found = {stem for stem, (faces, _) in results.items() if faces}
        best = {stem: faces[0] for stem, (faces, _) in results.items() if faces}
        rows.append(_recall(label, found, set(shown), labels) | milliseconds([ms for _, ms in results.values()]))
    if python:
        boxes = haar(python, {f"find/{stem}": picture for stem, picture in shown.items()})
        found = {stem for stem in shown if len(boxes[f"find/{stem}"])}
        right = {stem for stem in found if stem in best and in_box(best[stem], boxes[f"find/{stem}"])}
        ms = [1000 * float(boxes[f"seconds/find/{stem}"]) for stem in shown]
        row = _recall("Haar cascade (OpenCV 4)", found, set(shown), labels) | milliseconds(ms)
        rows.append(row | {"box around our landmarks": len(right)})
    table(rows, f"### Detectors, {len(shown)} {name}, {sum(labels.get(stem, True) for stem in shown)} with a face")


def _recall(label: str, found: set[str], shown: set[str], labels: dict[str, bool]) -> dict[str, Any]:
    true = {stem for stem in shown if labels.get(stem, True)}
    return {"detector": label, "recall": len(found & true) / len(true), "false detections": len(found - true)}


def measure_crops(folder: Path, params: CropParams, with_mtcnn: bool) -> None:
    """Print the outcomes of cropping the selfies and, by MTCNN, the errors of the crops."""
    detector, statuses, kept, times = FaceDetector(PRETRAINED), Counter[str](), [], []
    for _, cleaned in pictures(folder):
        (crop, *_), ms = timed(crop_faces, cleaned, detector, params)
        times.append(ms)
        statuses["kept" if isinstance(crop, Crop) else crop.status.value] += 1
        if isinstance(crop, Crop):
            kept.append(crop)
    visible = [float(crop.square.inside.mean()) / 255 for crop in kept]
    row = dict(statuses) | {f"visible, {share:.0%}": float(np.quantile(visible, share)) for share in (0.05, 0.5)}
    table([row | milliseconds(times)], "### Crops of the selfies")
    if with_mtcnn:
        table([crop_errors(kept, params)], "### Errors of the crops, by MTCNN")


def crop_errors(crops: list[Crop], params: CropParams) -> dict[str, Any]:
    """Compare eyes and mouth in the crops, as MTCNN finds them, with their target positions."""
    from facenet_pytorch import MTCNN

    net, correct, not_found, errors = MTCNN(select_largest=True), 0, 0, []
    for crop in crops:
        _, _, points = net.detect(crop.square.picture, landmarks=True)
        if points is None or points[0] is None:
            not_found += 1
            continue
        first_eye, second_eye = points[0][:2]
        eyes, mouth = points[0][:2].mean(axis=0), points[0][3:].mean(axis=0)
        target = np.array([0.5, params.eye_line]) * params.size_px
        error = float(np.linalg.norm(eyes - target)) / params.size_px
        plain = eye_mouth_similarity(crop.face, params.size_px, params.eye_line, params.eye_to_mouth)
        zoom = float(np.hypot(*crop.transform[:, 0])) / float(np.hypot(*plain[:, 0]))
        distance = max(float(np.linalg.norm(mouth - eyes)), 1.05 * float(np.linalg.norm(second_eye - first_eye)))
        relative = distance / (params.eye_to_mouth * zoom * params.size_px)
        tilt = float(np.degrees(np.arctan2(*(second_eye - first_eye)[::-1])))
        correct += error < MAX_EYE_ERROR and abs(relative - 1) < MAX_DISTANCE_ERROR and abs(tilt) < MAX_TILT
        errors.append(error)
    return {
        "crops": len(crops),
        "correct": correct,
        "no face found by MTCNN": not_found,
        "correct of those found": correct / max(len(crops) - not_found, 1),
        "eye error, median (of the side)": float(np.median(errors)),
        "95th percentile": float(np.quantile(errors, 0.95)),
    }


def edge(mask: MaskArray) -> np.ndarray:
    """Return the edge of a mask, one pixel wide; the border of the picture does not count."""
    hard = (mask > 127).astype(np.uint8)
    return (hard - cv2.erode(hard, np.ones((3, 3), np.uint8), borderValue=1)) > 0


def boundary_f_score(mask: MaskArray, exact: MaskArray) -> float:
    """Return the F-score of the edges, within EDGE_TOLERANCE_PX."""
    predicted, true = edge(mask), edge(exact)
    precision = (predicted & (cv2.dilate(true.astype(np.uint8), EDGE_KERNEL) > 0)).sum() / max(predicted.sum(), 1)
    recall = (true & (cv2.dilate(predicted.astype(np.uint8), EDGE_KERNEL) > 0)).sum() / max(true.sum(), 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


class Composite(NamedTuple):
    """A portrait on a synthetic background, and its exact mask."""

    background: str
    square: CropImage
    exact: MaskArray


def cropped_portraits(paths: Sequence[Path], params: CropParams) -> list[tuple[int, CropImage]]:
    """Return the portraits with a face and an alpha: position in `paths`, and cropped square."""
    detector, found = FaceDetector(PRETRAINED), []
    for number, path in enumerate(paths):
        crop = crop_faces(decode_picture(path.read_bytes()), detector, params)[0]
        if isinstance(crop, Crop) and crop.square.alpha is not None:
            found.append((number, crop.square))
    return found


def composites(squares: list[tuple[int, CropImage]], selfies: Path) -> Iterator[Composite]:
    """Yield each portrait on a background that its position determines."""
    photos = sorted(selfies.iterdir())
    for number, square in squares:
        assert square.alpha is not None
        kind = KINDS[number % len(KINDS)]
        source = None
        if kind == "room":
            source = square_background(decode_picture(photos[7 * number % len(photos)].read_bytes()).picture, SIDE)
        background = draw_background(kind, number, SIDE, source)
        composite = composite_person(square.picture, square.alpha, background, 0.3)
        yield Composite(kind, CropImage(composite, None, square.inside), square.alpha)


def count_masks_from_alpha(squares: list[tuple[int, CropImage]], params: CropParams) -> None:
    """Print for how many portraits the exact alpha is used as the mask."""
    segmenter = Segmenter(PRETRAINED)
    origins = Counter(locate_person(square, segmenter, params)[1] for _, square in squares)
    table([dict(origins)], f"### Origin of the masks of {len(squares)} portraits with exact alpha")


def open_segmenters(refiner: Path | None) -> dict[str, Segmenter]:
    """Open MediaPipe's segmenter, the refined one, the downloaded one if it is there, and one with another refiner."""
    has_downloaded = (PRETRAINED / f"{DOWNLOADED}.onnx").exists()
    models: tuple[MaskModel, ...] = ("selfie", "refined", *((DOWNLOADED,) if has_downloaded else ()))
    segmenters: dict[str, Segmenter] = {model: Segmenter(PRETRAINED, model) for model in models}
    if refiner:
        networks = {path.name: path.read_bytes() for path in PRETRAINED.glob("*.tflite")}
        segmenters[f"refined by {refiner}"] = Segmenter(networks | {REFINER_MODEL: refiner.read_bytes()}, "refined")
    return segmenters


def compare_segmenters(
    portraits: list[Composite], segmenters: dict[str, Segmenter], params: CropParams, python: str | None
) -> None:
    """Print the accuracy of each segmenter on composites with known masks."""
    rows = []
    for model, net in segmenters.items():
        results = [timed(segment_person, portrait.square, net, params) for portrait in portraits]
        rows.append(_accuracy(model, portraits, [mask for mask, _ in results], [ms for _, ms in results]))
    if python:
        squares = [portrait.square for portrait in portraits]
        found = haar(python, {f"mask/{number}": square.picture for number, square in enumerate(squares)})
        masks = [np.minimum(found[f"mask/{number}"], square.inside) for number, square in enumerate(squares)]
        times = [1000 * float(found[f"seconds/mask/{number}"]) for number in range(len(squares))]
        rows.append(_accuracy("GrabCut from a rectangle", portraits, masks, times))
    table(rows, f"### Segmenters, {len(portraits)} painted portraits on synthetic backgrounds, alpha hidden")
    net, rows = Segmenter(PRETRAINED), []
    soft = [net(portrait.square.picture) for portrait in portraits]
    for threshold in THRESHOLDS:
        ious = []
        for mask, portrait in zip(soft, portraits, strict=True):
            hard = np.where(mask > threshold, 255, 0).astype(np.uint8)
            ious.append(mask_iou(np.minimum(connected_to_face(hard, params), portrait.square.inside), portrait.exact))
        rows.append({"threshold, of 255": threshold, "IoU, mean": float(np.mean(ious))})
    table(rows, "### Threshold of the refined mask")


def _accuracy(model: str, portraits: list[Composite], masks: list[MaskArray], times: list[float]) -> dict[str, Any]:
    pairs = [(mask, portrait.exact) for mask, portrait in zip(masks, portraits, strict=True)]
    iou = np.array([mask_iou(*pair) for pair in pairs])
    score = np.mean([boundary_f_score(*pair) for pair in pairs])
    row = {"segmenter": model, "IoU, mean": iou.mean(), "median": np.median(iou)}
    row |= {"10th percentile": np.quantile(iou, 0.1), "boundary F": score}
    for kind in sorted({portrait.background for portrait in portraits}):
        row[f"on {kind}"] = np.mean(iou[[portrait.background == kind for portrait in portraits]])
    return row | milliseconds(times)


def labelled_photos(selfies: Path, labels: Path, split: SplitParams) -> Iterator[tuple[CleanPicture, MaskArray]]:
    """Yield the photographs of the test part that have a label and no alpha channel, and their labels."""
    for path in sorted(selfies.iterdir()):
        label = labels / f"{path.stem}.png"
        if not label.exists() or part_of(picture_id(content := path.read_bytes()), split) != "test":
            continue
        photo = decode_picture(content)
        if photo.alpha is None:
            yield photo, decode_png(label.read_bytes())


def close_to_head(face: Face, mask: MaskArray) -> tuple[slice, slice]:
    """Return rows and columns of a photograph that ends close to the head; the mask has the size of the photograph."""
    height, width = mask.shape
    borders = np.tile(face.points[:2].mean(axis=0), 2) + CLOSE * eye_to_mouth_px(face)
    left, top, right, bottom = borders.round().astype(int).clip(0, [width, height, width, height])
    return np.s_[top:bottom, left:right]


def compare_on_photos(
    photos: Iterator[tuple[CleanPicture, MaskArray]], segmenters: dict[str, Segmenter], params: CropParams
) -> None:
    """Print how well the segmenters' masks agree with the labels of photographs, as they are and cut at the head."""
    detector, rows = FaceDetector(PRETRAINED), []
    for photo, label in photos:
        whole = crop_faces(photo, detector, params)[0]
        if not isinstance(whole, Crop):
            continue
        area = close_to_head(whole.face, label)
        close = crop_faces(replace(photo, picture=photo.picture[area]), detector, params)[0]
        if not isinstance(close, Crop):
            continue
        for cut, crop, expected in (("no", whole, whole.warp(label)), ("yes", close, close.warp(label[area]))):
            for name, segmenter in segmenters.items():
                mask = segment_person(crop.square, segmenter, params)
                rows.append({"cut": cut, "segmenter": name} | disagreement(mask, expected, crop.square.inside))
    groups = pd.DataFrame(rows).groupby(["cut", "segmenter"])
    means = groups.mean().assign(photos=groups.size()).reset_index()
    table(means.to_dict("records"), "### Segmenters, photographs; masks of a larger network are the labels")


def disagreement(mask: MaskArray, label: MaskArray, inside: MaskArray) -> dict[str, float]:
    """Return IoU, and the areas of wrong pixels as percentages of the person's area; wrong edges are tolerated."""
    mask, label = np.minimum(mask, inside), np.minimum(label, inside)
    predicted, person = mask > 127, label > 127
    near, core = (operation(person.astype(np.uint8), EDGE_KERNEL) > 0 for operation in (cv2.dilate, cv2.erode))
    area = person.sum() / 100
    return {
        "IoU": mask_iou(mask, label),
        "background kept, %": (predicted & ~near).sum() / area,
        "person missing, %": (core & ~predicted).sum() / area,
        "difference, %": cv2.absdiff(mask, label).sum() / 255 / area,
    }


def measure_crop_and_mask(folder: Path, params: CropParams) -> None:
    """Print CPU time and peak memory of a process that only crops and masks, as for a user's selfie."""
    rows = []
    for model in ("selfie", "refined"):
        words = [sys.executable, "-c", CROP_AND_MASK, str(PRETRAINED), model, params.model_dump_json(), str(folder)]
        output = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        before, after, *times = map(float, output)
        row = {"segmenter": model, "selfies": len(times)} | milliseconds(times)
        rows.append(row | {"peak memory, MB": after, "before any model, MB": before})
    table(rows, "### Crop and mask together")


CROP_AND_MASK = """
import sys, time
from pathlib import Path
import cv2
from portraitist.clean.decode import decode_picture
from portraitist.crop.align import Crop, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.params import CropParams
from portraitist.mask.segmenter import Segmenter, segment_person
cv2.setNumThreads(1)
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024  # Linux
pretrained, model, crop_params, folder = sys.argv[1:]
params, before = CropParams.model_validate_json(crop_params), peak()
detector, net, times = FaceDetector(Path(pretrained)), Segmenter(Path(pretrained), model), []
for path in sorted(Path(folder).iterdir()):
    cleaned = decode_picture(path.read_bytes())
    start = time.process_time()
    crop = crop_faces(cleaned, detector, params)[0]
    if isinstance(crop, Crop):
        segment_person(crop.square, net, params)
        times.append(1000 * (time.process_time() - start))
print(before, peak(), *times)
"""


def crop_params() -> CropParams:
    """Return the project's parameters of stage `crop`, but for squares of SIDE pixels, also of small faces."""
    return load(CropParams, "crop").model_copy(update={"size_px": SIDE, "max_upscale": 8.0})


def real(arguments: argparse.Namespace) -> None:
    """Print all tables on real pictures."""
    params = crop_params()
    with arguments.faces.open(newline="", encoding="utf-8") as file:
        labels = {row["name"]: row["face"] == "1" for row in csv.DictReader(file)}
    measure_crop_and_mask(arguments.selfies, params)
    compare_detectors("selfies", arguments.selfies, params, {}, arguments.haar)
    compare_detectors("portraits", arguments.portraits, params, labels, arguments.haar)
    shown = [path for path in sorted(arguments.portraits.iterdir()) if labels.get(path.stem, True)]
    count_masks_from_alpha(cropped_portraits(shown, params), params)
    measure_crops(arguments.selfies, params, arguments.mtcnn)


def masks(arguments: argparse.Namespace) -> None:
    """Print the accuracy of segmenters on pictures outside the training part of the split."""
    params = crop_params()
    split = load(SplitParams, "split")
    unseen = [
        path
        for path in sorted(arguments.portraits.iterdir())
        if part_of(picture_id(path.read_bytes()), split) != "train"
    ]
    squares = cropped_portraits(unseen, params)
    segmenters = open_segmenters(arguments.refiner)
    compare_segmenters(list(composites(squares, arguments.selfies)), segmenters, params, arguments.haar)
    if arguments.labels:
        compare_on_photos(labelled_photos(arguments.selfies, arguments.labels, split), segmenters, params)


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    on_real, on_masks = commands.add_parser("real"), commands.add_parser("masks")
    for command, function in ((on_real, real), (on_masks, masks)):
        command.add_argument("--selfies", type=Path, required=True)
        command.add_argument("--portraits", type=Path, required=True)
        command.add_argument("--haar")
        command.set_defaults(run=function)
    on_real.add_argument("--faces", type=Path, required=True)
    on_masks.add_argument("--labels", type=Path)
    on_masks.add_argument("--refiner", type=Path)
    on_real.add_argument("--mtcnn", action="store_true")
    arguments = parser.parse_args()
    arguments.run(arguments)
