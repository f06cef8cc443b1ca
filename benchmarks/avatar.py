"""Seconds and memory for an avatar: of a phone's JPEG at 256 px, of the generators alone, of the command, of a batch.

    python -m benchmarks.avatar

Time does not depend on what a network has learned, so the models are made here, untrained. Each part is measured in a
process of its own, without torch. Seconds depend on the machine and are no metric of the pipeline; operations and
weights are (cost_gflop, cost_megabytes).
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE_PX = 256
SHAPES = {
    "16 x 4, the sample's": (16, 4),
    "32 x 6, profile cpu's": (32, 6),
    "64 x 8, CartoonGAN's": (64, 8),
}  # width x blocks
PHONE = (3024, 4032)
WARM, ROUNDS, BATCH = 3, 15, 200


def make(folder: Path) -> dict[str, Any]:
    """Models of every shape, a phone's JPEG, and a folder of selfies."""
    from portraitist.core.params import load
    from portraitist.crop.params import CropParams
    from portraitist.export.onnx_export import export_model
    from portraitist.export.params import ExportParams
    from portraitist.mask.params import MaskParams
    from portraitist.methods.base import Method
    from portraitist.methods.registry import build

    crop = load(CropParams, "crop").model_copy(update={"size_px": SIDE_PX, "max_upscale": 10.0})
    about = {"crop": crop.model_dump(), "mask": load(MaskParams, "mask").model_dump(), "method": "masked_cartoongan"}
    told = {"learning_rate": 0.001, "content_weight": 1.0, "average": 0.9, "mask": "given", "erode_px": 1}
    squares = [np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)]
    for width, blocks in SHAPES.values():
        shape = {"width": width, "blocks": blocks, "skips": width < 64, "grey_input": True}
        painter = build("masked_cartoongan", told | shape)
        assert isinstance(painter, Method)
        dest, masks = folder / f"{width}", [square[..., 0] for square in squares]
        export_model(
            painter.eval(), about, Path("models/pretrained"), load(ExportParams, "export"), squares, masks, "", dest
        )
    selfies = sorted(Path("data/sample/selfies").glob("*.jpg"))
    with Image.open(selfies[3]) as opened:
        large = np.array(opened.convert("RGB").resize((PHONE[0], PHONE[0])), np.int16)
    photo = np.full((PHONE[1], PHONE[0], 3), 120, np.int16)
    photo[400 : 400 + PHONE[0]] = large
    photo += np.random.default_rng(1).integers(-5, 6, photo.shape, np.int16)  # a sensor's noise: bytes to decode
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / "phone.jpg", quality=92)
    (folder / "batch").mkdir()
    for place in range(BATCH):
        (folder / "batch" / f"{place}.jpg").write_bytes(selfies[place % len(selfies)].read_bytes())
    return {"jpeg_mb": round((folder / "phone.jpg").stat().st_size / 1e6, 1), "batch": BATCH}


def one(folder: Path) -> dict[str, Any]:
    """An avatar of the phone's JPEG, from the file to the PNG's bytes, warm."""
    from portraitist.app.avatar import Portraitist
    from portraitist.app.compositing import Finish, apply_finish, encode_avatar

    portraitist = Portraitist.open(folder / "16", threads=2)
    wall, spent = [], []
    for _ in range(WARM + ROUNDS):
        begun, cpu = time.perf_counter(), time.process_time()
        encode_avatar(apply_finish(portraitist.paint(folder / "phone.jpg"), Finish()), "PNG")
        wall.append(time.perf_counter() - begun)
        spent.append(time.process_time() - cpu)
    return {"wall_s": _middle(wall[WARM:]), "cpu_s": _middle(spent[WARM:]), "peak_mib": _peak()}


def generators(folder: Path) -> dict[str, Any]:
    """The generators alone, in turns."""
    from portraitist.app.avatar import Portraitist

    opened = {name: Portraitist.open(folder / f"{width}", threads=2) for name, (width, _) in SHAPES.items()}
    picture = np.random.default_rng(1).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    mask = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    spent: dict[str, list[float]] = {name: [] for name in SHAPES}
    for _ in range(WARM + ROUNDS // 2):
        for name, portraitist in opened.items():
            cpu = time.process_time()
            portraitist.paint_squares([picture], [mask])
            spent[name].append(time.process_time() - cpu)
    middle = {name: _middle(values[WARM:]) for name, values in spent.items()}
    theirs = list(middle.values())[-1]
    return {name: {"cpu_s": value, "ratio": round(value / theirs, 3)} for name, value in middle.items()}


def command(folder: Path) -> dict[str, Any]:
    """The command from its start to the first avatar."""
    wall, spent = [], []
    for place in range(5):
        words = [
            "paint",
            str(folder / "phone.jpg"),
            "-o",
            str(folder / f"out{place}.png"),
            "--model",
            str(folder / "16"),
        ]
        code = f"import sys; sys.argv[1:] = {words!r}; from portraitist.cli import main; main()"
        begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(time.perf_counter() - begun)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"wall_s": _middle(wall), "cpu_s": _middle(spent), "peak_mib": round(peak)}


def batch(folder: Path, workers: int) -> dict[str, Any]:
    """Two hundred selfies."""
    from portraitist.app.avatar import Portraitist
    from portraitist.app.compositing import Finish
    from portraitist.app.paint_files import Job, expand_paths, paint_batch

    selfies = expand_paths([folder / "batch"])
    goals = [folder / f"batch{workers}" / f"{path.stem}.png" for path in selfies]
    portraitist = Portraitist.open(folder / "16", threads=1)
    begun, cpu = time.perf_counter(), time.process_time()
    done = sum(bool(outcome.written) for outcome in paint_batch(portraitist, selfies, goals, Job(Finish()), workers))
    wall = time.perf_counter() - begun
    spent = time.process_time() - cpu
    return {"painted": done, "wall_s": round(wall, 1), "cpu_s": round(spent, 1), "peak_mib": _peak()}


def _middle(values: list[float]) -> float:
    return round(float(np.median(values)), 3)


def _peak() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Make all, then measure each part in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("make", "one", "generators", "command", "batch 1", "batch 2"):
            print(f"{part} (load {os.getloadavg()[0]:.1f}): ", end="", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.avatar", str(folder), *part.split()], check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        place, part, *rest = sys.argv[1:]
        told = batch(Path(place), int(rest[0])) if rest else globals()[part](Path(place))
        print(json.dumps(told, indent=1 if part == "generators" else None))
    else:
        main()
