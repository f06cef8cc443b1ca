"""Crop and mask measured: on folders of real pictures, and on very many.

    python benchmarks/faces.py real --selfies DIR --portraits DIR --faces LABELS.csv [--haar PYTHON] [--judge]
    python benchmarks/faces.py scale WORK --pictures 20000 --workers 2

`real`: portraits carry their exact mask as alpha, which the segmenters do not get to see. LABELS has a row `name,face` for
each portrait, face 1 or 0. --haar is the Python of an environment with OpenCV 4 (benchmarks/haar_grabcut.py); --judge
asks MTCNN (pip install --no-deps facenet-pytorch) where eyes and mouth are in each selfie's square. `scale`: the sample
pack repeated with jitter through the stages crop and mask themselves. CPU time is of one thread.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from portraitist.augment.render import composite_person, draw_background, square_background
from portraitist.clean.decode import CleanPicture, RejectedError, decode_picture
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.geometry import mask_iou
from portraitist.core.params import load
from portraitist.core.shards import ShardWriter
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.align import GREY, Crop, CropImage, crop_faces
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import MOUTH, RIGHT_EYE, Face, eye_mouth_similarity
from portraitist.crop.params import CropParams
from portraitist.mask.segmenter import DOWNLOADED, Segmenter, segment_person, under_face

PRETRAINED, SAMPLE = Path("models/pretrained"), Path("data/sample")
SIDE = 256
KINDS = ("solid", "gradient", "noise", "checks", "room")
NEAR_PX = 2  # how far a found edge may lie from the true one, of 256
EYES_OFF, SPAN_OFF, TILT_OFF = 0.08, 0.3, 12.0  # of the side; of the span; degrees: beyond them a crop is not right
DISTINCT = 2000  # jittered pictures; more of them are these again, under other names
THRESHOLDS = (64, 96, 127, 160, 192)


def table(rows: list[dict[str, Any]], title: str) -> None:
    """The rows as Markdown."""
    print(f"\n{title}\n\n{pd.DataFrame(rows).to_markdown(index=False, floatfmt='.4g')}", flush=True)


def pictures(folder: Path) -> Iterator[tuple[str, CleanPicture]]:
    """Every picture of a folder by its file's name."""
    for path in sorted(folder.iterdir()):
        yield path.stem, decode_picture(path.read_bytes())


def shown(cleaned: CleanPicture) -> Picture:
    """What a detector is shown: the figure on grey, if it has an alpha."""
    return cleaned.picture if cleaned.alpha is None else alpha_composite(cleaned.picture, cleaned.alpha, GREY)


def timed(work: Callable[..., Any], *told: Any) -> tuple[Any, float]:
    """What work gives, and its CPU milliseconds."""
    began = time.process_time()
    answer = work(*told)
    return answer, 1000 * (time.process_time() - began)


def milliseconds(values: list[float]) -> dict[str, float]:
    """Median and mean, as columns."""
    return {"CPU ms, median": float(np.median(values)), "mean": float(np.mean(values))}


def haar(python: str, tasks: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The answers of benchmarks/haar_grabcut.py in its own environment."""
    with tempfile.TemporaryDirectory() as folder:
        source, dest = Path(folder) / "pictures.npz", Path(folder) / "answers.npz"
        np.savez(source, **tasks)  # type: ignore[arg-type]
        subprocess.run([python, "benchmarks/haar_grabcut.py", str(source), str(dest)], check=True)
        with np.load(dest) as answers:
            return dict(answers)


def in_box(face: Face, box: np.ndarray) -> bool:
    """Whether a Haar box is around the nose of the face that we know."""
    x, y = face.points[RIGHT_EYE : MOUTH + 1].mean(axis=0)
    return bool(len(box)) and box[0] < x < box[0] + box[2] and box[1] < y < box[1] + box[3]


def detectors(name: str, folder: Path, params: CropParams, labels: dict[str, bool], python: str | None) -> None:
    """Who finds whom: one table for a folder. Without labels each picture is taken to show a face."""
    detector = FaceDetector(PRETRAINED)
    seen = {stem: shown(cleaned) for stem, cleaned in pictures(folder)}
    ways: dict[str, Callable[[Picture], list[Face]]] = {
        "full range alone": lambda picture: detector._look(picture, 0, params.min_score),
        "short range alone": lambda picture: detector._look(picture, 1, params.min_score),
        "both, closer looks, a second look (ours)": lambda picture: detector.detect(picture, params.min_score),
    }
    rows, best = [], {}
    for way, find in ways.items():
        answers = {stem: timed(find, picture) for stem, picture in seen.items()}
        found = {stem for stem, (faces, _) in answers.items() if faces}
        best = {stem: faces[0] for stem, (faces, _) in answers.items() if faces}
        rows.append(_detected(way, found, seen, labels) | milliseconds([spent for _, spent in answers.values()]))
    if python:
        answers_of = haar(python, {f"find/{stem}": picture for stem, picture in seen.items()})
        found = {stem for stem in seen if len(answers_of[f"find/{stem}"])}
        right = {stem for stem in found if stem in best and in_box(best[stem], answers_of[f"find/{stem}"])}
        spent = [1000 * float(answers_of[f"seconds/find/{stem}"]) for stem in seen]
        row = _detected("Haar cascade (OpenCV 4)", found, seen, labels) | milliseconds(spent)
        rows.append(row | {"box around the face that ours sees": len(right)})
    table(rows, f"### Detectors, {len(seen)} {name}, {sum(labels.get(stem, True) for stem in seen)} with a face")


def _detected(way: str, found: set[str], seen: dict[str, Picture], labels: dict[str, bool]) -> dict[str, Any]:
    true = {stem for stem in seen if labels.get(stem, True)}
    return {"detector": way, "recall": len(found & true) / len(true), "found where there is no face": len(found - true)}


def crops(folder: Path, params: CropParams, judge: bool) -> None:
    """What becomes of each selfie, and how far from their places an independent detector sees eyes and mouth."""
    detector, statuses, squares, spent = FaceDetector(PRETRAINED), Counter(), [], []
    for stem, cleaned in pictures(folder):
        (made, *_), cost = timed(crop_faces, cleaned, detector, params)
        spent.append(cost)
        statuses["kept" if isinstance(made, Crop) else made.status.value] += 1
        if isinstance(made, Crop):
            squares.append((stem, made))
    inside = [float(made.square.inside.mean()) / 255 for _, made in squares]
    row = dict(statuses) | {f"inside, {share:.0%}": float(np.quantile(inside, share)) for share in (0.05, 0.5)}
    table([row | milliseconds(spent)], "### Crops of the selfies")
    if judge:
        table(
            [judged([made.square.picture for _, made in squares], [made for _, made in squares], params)],
            "### Judged by MTCNN",
        )


def judged(seen: list[Picture], made: list[Crop], params: CropParams) -> dict[str, Any]:
    """How many squares have eyes and mouth where they should be, by MTCNN's five points."""
    from facenet_pytorch import MTCNN

    net, right, unseen, offs = MTCNN(select_largest=True), 0, 0, []
    for picture, one in zip(seen, made, strict=True):
        _, _, points = net.detect(picture, landmarks=True)
        if points is None or points[0] is None:
            unseen += 1
            continue
        eyes, mouth = points[0][:2].mean(axis=0), points[0][3:].mean(axis=0)
        wanted = np.array([0.5, params.eye_line]) * params.size_px
        off = float(np.linalg.norm(eyes - wanted)) / params.size_px
        nearer = float(np.hypot(*one.transform[:, 0])) / float(
            np.hypot(*eye_mouth_similarity(one.face, params.size_px, params.eye_line, params.eye_to_mouth)[:, 0])
        )
        span = max(float(np.linalg.norm(mouth - eyes)), 1.05 * float(np.linalg.norm(points[0][1] - points[0][0])))
        spanned = span / (params.eye_to_mouth * nearer * params.size_px)
        tilt = float(np.degrees(np.arctan2(*(points[0][1] - points[0][0])[::-1])))
        right += off < EYES_OFF and abs(spanned - 1) < SPAN_OFF and abs(tilt) < TILT_OFF
        offs.append(off)
    return {
        "squares": len(seen),
        "right": right,
        "no face seen by MTCNN": unseen,
        "right of those it saw": right / max(len(seen) - unseen, 1),
        "eyes off, median (of the side)": float(np.median(offs)),
        "95 %": float(np.quantile(offs, 0.95)),
    }


def edge(mask: MaskArray) -> np.ndarray:
    """The border of a mask, one pixel wide; the picture's frame is none."""
    hard = (mask > 127).astype(np.uint8)
    return (hard - cv2.erode(hard, np.ones((3, 3), np.uint8), borderValue=1)) > 0


def boundary(mask: MaskArray, truth: MaskArray) -> float:
    """F-score of the edges, within NEAR_PX."""
    ours, theirs = edge(mask), edge(truth)
    around = np.ones((2 * NEAR_PX + 1, 2 * NEAR_PX + 1), np.uint8)
    precision = (ours & (cv2.dilate(theirs.astype(np.uint8), around) > 0)).sum() / max(ours.sum(), 1)
    recall = (theirs & (cv2.dilate(ours.astype(np.uint8), around) > 0)).sum() / max(theirs.sum(), 1)
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def composites(
    portraits: Path, selfies: Path, params: CropParams, labels: dict[str, bool]
) -> Iterator[tuple[str, CropImage, MaskArray]]:
    """Each portrait with a face, cropped, before a background drawn by its place: the kind, the square, the truth."""
    detector, rooms = FaceDetector(PRETRAINED), sorted(selfies.iterdir())
    for number, (stem, cleaned) in enumerate(pictures(portraits)):
        (made, *_) = crop_faces(cleaned, detector, params)
        if isinstance(made, RejectedError) or made.square.alpha is None or not labels.get(stem, True):
            continue
        kind = KINDS[number % len(KINDS)]
        seen = (
            square_background(decode_picture(rooms[7 * number % len(rooms)].read_bytes()).picture, SIDE)
            if kind == "room"
            else None
        )
        back = draw_background(kind, number, SIDE, seen)
        put = composite_person(made.square.picture, made.square.alpha, back, 0.3)
        yield kind, CropImage(put, None, made.square.inside), made.square.alpha


def segmenters(made: list[tuple[str, CropImage, MaskArray]], params: CropParams, python: str | None) -> None:
    """Every segmenter on portraits before drawn backgrounds; their own alpha is the truth."""
    models = ["selfie", "refined", *([DOWNLOADED] if (PRETRAINED / f"{DOWNLOADED}.onnx").exists() else [])]
    rows = []
    for model in models:
        net = Segmenter(PRETRAINED, model)  # type: ignore[arg-type]
        answers = [timed(segment_person, square, net, params) for _, square, _ in made]
        rows.append(_masked(model, made, [mask for mask, _ in answers], [spent for _, spent in answers]))
    if python:
        found = haar(python, {f"mask/{number}": square.picture for number, (_, square, _) in enumerate(made)})
        masks = [np.minimum(found[f"mask/{number}"], square.inside) for number, (_, square, _) in enumerate(made)]
        spent = [1000 * float(found[f"seconds/mask/{number}"]) for number in range(len(made))]
        rows.append(_masked("GrabCut from a rectangle, in our square", made, masks, spent))
    table(rows, f"### Maskers, {len(made)} painted portraits before drawn backgrounds, alpha hidden")
    net, rows = Segmenter(PRETRAINED), []
    soft = [(net(square.picture), square, truth) for _, square, truth in made]
    for threshold in THRESHOLDS:
        hard = [(np.where(mask > threshold, 255, 0).astype(np.uint8), square, truth) for mask, square, truth in soft]
        iou = [mask_iou(np.minimum(under_face(mask, params), square.inside), truth) for mask, square, truth in hard]
        rows.append({"threshold, of 255": threshold, "IoU, mean": float(np.mean(iou))})
    table(rows, "### Where to cut the refined mask")


def _masked(
    model: str, made: list[tuple[str, CropImage, MaskArray]], masks: list[MaskArray], spent: list[float]
) -> dict[str, Any]:
    iou = np.array([mask_iou(mask, truth) for mask, (_, _, truth) in zip(masks, made, strict=True)])
    score = np.mean([boundary(mask, truth) for mask, (_, _, truth) in zip(masks, made, strict=True)])
    row = {"segmenter": model, "IoU, mean": iou.mean(), "median": np.median(iou), "worst tenth": np.quantile(iou, 0.1)}
    by_kind = {
        f"on {kind}": np.mean(iou[[kind == one for one, _, _ in made]]) for kind in sorted({one for one, _, _ in made})
    }
    return row | {"boundary F": score} | by_kind | milliseconds(spent)


def together(folder: Path, frame: CropParams) -> None:
    """Crop and mask in one go, as a user's selfie has it: CPU time, and the memory of a process that does only this."""
    rows = []
    for model in ("selfie", "refined"):
        words = [sys.executable, "-c", ALONE, str(PRETRAINED), model, frame.model_dump_json(), str(folder)]
        said = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        before, after, *spent = map(float, said)
        row = {"segmenter": model, "selfies": len(spent)} | milliseconds(spent)
        rows.append(row | {"peak memory, MB": after, "before any model, MB": before})
    table(rows, "### Crop and mask together")


ALONE = """
import sys, time
from pathlib import Path
import cv2
from portraitist.clean import read
from portraitist.crop import Crop, FaceDetector, crop_faces
from portraitist.mask import Segmenter, segment
from portraitist.params import CropParams
cv2.setNumThreads(1)
peak = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024  # Linux
pretrained, model, frame, folder = sys.argv[1:]
params, before = CropParams.model_validate_json(frame), peak()
detector, net, spent = FaceDetector(Path(pretrained)), Segmenter(Path(pretrained), model), []
for path in sorted(Path(folder).iterdir()):
    cleaned = read(path.read_bytes())
    began = time.process_time()
    made = crop_faces(cleaned, detector, params)[0]
    if isinstance(made, Crop):
        segment(made.square, net, params)
        spent.append(1000 * (time.process_time() - began))
print(before, peak(), *spent)
"""


def real(told: argparse.Namespace) -> None:
    """All tables on real pictures."""
    frame = load(CropParams, "crop").model_copy(update={"size_px": SIDE, "max_upscale": 8.0})
    with told.faces.open(newline="", encoding="utf-8") as file:
        labels = {row["name"]: row["face"] == "1" for row in csv.DictReader(file)}
    together(told.selfies, frame)
    detectors("selfies", told.selfies, frame, {}, told.haar)
    detectors("portraits", told.portraits, frame, labels, told.haar)
    segmenters(list(composites(told.portraits, told.selfies, frame, labels)), frame, told.haar)
    crops(told.selfies, frame, told.judge)


def jittered(number: int, packed: list[Path], rng: np.random.Generator) -> CleanPicture:
    """One of the pack's pictures, turned, moved and lit a little otherwise."""
    cleaned = decode_picture(packed[number % len(packed)].read_bytes())
    turn = cv2.getRotationMatrix2D((128, 128), rng.uniform(-8, 8), 2 * rng.uniform(0.85, 1.15))
    turn[:, 2] += 128 + rng.uniform(-12, 12, 2)
    moved = cv2.warpAffine(cleaned.picture, turn, (512, 512), borderMode=cv2.BORDER_REPLICATE)
    return CleanPicture((moved * rng.uniform(0.8, 1.1)).clip(0, 255).astype(np.uint8), None)


def scale(told: argparse.Namespace) -> None:
    """Many pictures through the stages crop and mask; CPU time and memory of all processes, for each quarter."""
    packed = sorted((SAMPLE / "selfies").iterdir()) + sorted((SAMPLE / "portraits").iterdir())
    at, shard_size = told.work, max(told.pictures // 40, 1)
    (at / "profiles").mkdir(parents=True)
    profile = yaml.safe_load(Path("profiles/sample.yaml").read_text(encoding="utf-8"))
    for stage in ("crop", "mask"):
        profile[stage] |= {"workers": told.workers, "shard_size": shard_size}
    (at / "profiles" / "sample.yaml").write_text(yaml.safe_dump(profile), encoding="utf-8")
    shutil.copy("params.yaml", at)
    rng, listed = np.random.default_rng(1), []
    drawn = [jittered(number, packed, rng).members() for number in range(min(told.pictures, DISTINCT))]
    with ShardWriter(at / "clean", shard_size) as shards:
        for number in range(told.pictures):
            name = manifest.picture_id(str(number).encode())
            shards.add(name, drawn[number % len(drawn)])
            listed.append({"id": name, "kind": ("selfies", "portraits")[number % 200 >= 100], "status": "kept"})
    manifest.write(listed, at / "clean" / "manifest.csv", ["id", "kind", "status"])
    rows = [*watched(at, "crop", "clean"), *watched(at, "mask", "crop")]
    table(rows, f"### Scale, {told.pictures} pictures of 512 px, {told.workers} workers")
    print("\n".join(f"{name}: {(at / f'{name}.json').read_text(encoding='utf-8')}" for name in ("crop", "mask")))


def watched(at: Path, stage: str, source: str) -> list[dict[str, Any]]:
    """A stage by its own command: for each ten of its forty shards the time they took, and the memory held."""
    paths = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path().resolve()), str(Path("src").resolve())])}
    words = [
        sys.executable,
        "-m",
        f"pipeline.{stage}",
        source,
        str(PRETRAINED.resolve()),
        stage,
        f"{stage}.json",
        f"{stage}.jpg",
    ]
    began, seen = time.time(), [(0, 0.0, 0.0, 0.0)]
    with subprocess.Popen(words, cwd=at, env=paths) as process:
        while process.poll() is None:
            done = max(len(list((at / stage).glob("*.tar"))) - 1, 0)
            tree = [process.pid, *_children(process.pid)]
            cpu = max(seen[-1][2], sum(map(_cpu_s, tree)))
            seen.append((done, time.time() - began, cpu, sum(map(_memory_mb, tree))))
            time.sleep(0.5)
    if process.returncode:
        sys.exit(f"{stage} ended with {process.returncode}")
    rows, before = [], seen[0]
    for quarter in range(4):
        within = [one for one in seen if 10 * quarter <= one[0] < 10 * (quarter + 1)]
        times = {"s": within[-1][1] - before[1], "CPU s": within[-1][2] - before[2]}
        peak = max(one[3] for one in within)
        rows.append({"stage": stage, "quarter": quarter + 1} | times | {"peak memory of all processes, MB": peak})
        before = within[-1]
    return rows


def _memory_mb(pid: int) -> float:
    """A process's memory, of what it shares its part (Linux)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _cpu_s(pid: int) -> float:
    """The CPU time of a process so far (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        found = [int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]
    except OSError:
        return []
    return found + [below for one in found for below in _children(one)]


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ways = parser.add_subparsers(required=True)
    on_real = ways.add_parser("real")
    on_real.add_argument("--selfies", type=Path, required=True)
    on_real.add_argument("--portraits", type=Path, required=True)
    on_real.add_argument("--faces", type=Path, required=True)
    on_real.add_argument("--haar")
    on_real.add_argument("--judge", action="store_true")
    on_real.set_defaults(run=real)
    on_many = ways.add_parser("scale")
    on_many.add_argument("work", type=Path)
    on_many.add_argument("--pictures", type=int, default=20000)
    on_many.add_argument("--workers", type=int, default=2)
    on_many.set_defaults(run=scale)
    chosen = parser.parse_args()
    chosen.run(chosen)
