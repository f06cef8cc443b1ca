"""Measure time and memory of painting: a photo from a phone, the generators alone, the command, and a batch.

    python -m benchmarks.avatar

The models are untrained, because the time does not depend on the weights. Each measurement runs in its own process,
without torch. Seconds depend on the machine; the pipeline's metrics cost_gflop and cost_megabytes therefore count
operations and weights instead. MB are 2^20 bytes.
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
}  # base channels and residual blocks
PHONE = (3024, 4032)
WARM, ROUNDS, BATCH = 3, 15, 200


def prepare(folder: Path) -> dict[str, Any]:
    """Create models of every shape, a phone's JPEG, and a folder of selfies."""
    from portraitist.core.params import load
    from portraitist.crop.params import CropParams
    from portraitist.export.onnx_export import export_model
    from portraitist.export.params import ExportParams
    from portraitist.learning.method import Method
    from portraitist.learning.registry import build
    from portraitist.mask.params import MaskParams

    crop = load(CropParams, "crop").model_copy(update={"size_px": SIDE_PX, "max_upscale": 10.0})
    metadata = {"crop": crop.model_dump(), "mask": load(MaskParams, "mask").model_dump(), "method": "masked_cartoongan"}
    settings = {"learning_rate": 0.001, "content_weight": 1.0, "ema_decay": 0.9, "mask": "given"}
    settings |= {"erode_px": 1, "grey_input": True}
    squares = [np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)]
    for base_channels, num_res_blocks in SHAPES.values():
        shape = {"base_channels": base_channels, "num_res_blocks": num_res_blocks}
        method = build("masked_cartoongan", settings | shape | {"skip_connections": base_channels < 64})
        assert isinstance(method, Method)
        dest, masks = folder / f"{base_channels}", [square[..., 0] for square in squares]
        export_model(
            method.eval(), metadata, Path("models/pretrained"), load(ExportParams, "export"), squares, masks, "", dest
        )
    selfies = sorted(Path("data/sample/selfies").glob("*.jpg"))
    with Image.open(selfies[3]) as opened:
        large = np.array(opened.convert("RGB").resize((PHONE[0], PHONE[0])), np.int16)
    photo = np.full((PHONE[1], PHONE[0], 3), 120, np.int16)
    photo[400 : 400 + PHONE[0]] = large
    photo += np.random.default_rng(1).integers(-5, 6, photo.shape, np.int16)  # sensor noise: a realistic size
    Image.fromarray(photo.clip(0, 255).astype(np.uint8)).save(folder / "phone.jpg", quality=92)
    (folder / "batch").mkdir()
    for index in range(BATCH):
        (folder / "batch" / f"{index}.jpg").write_bytes(selfies[index % len(selfies)].read_bytes())
    return {"jpeg_mb": round((folder / "phone.jpg").stat().st_size / 1e6, 1), "batch": BATCH}


def single(folder: Path) -> dict[str, Any]:
    """Measure painting the phone's JPEG, from the file to the bytes of a PNG, after a warm-up."""
    from portraitist.app.avatar import Portraitist
    from portraitist.app.compositing import Finish, apply_finish, encode_avatar

    portraitist = Portraitist(folder / "16", threads=2)
    wall_s, cpu_s = [], []
    for _ in range(WARM + ROUNDS):
        started, cpu_started = time.perf_counter(), time.process_time()
        encode_avatar(apply_finish(portraitist.paint(folder / "phone.jpg"), Finish()), "PNG")
        wall_s.append(time.perf_counter() - started)
        cpu_s.append(time.process_time() - cpu_started)
    return {"wall_s": _median(wall_s[WARM:]), "cpu_s": _median(cpu_s[WARM:]), "peak_mib": _peak_mib()}


def generators(folder: Path) -> dict[str, Any]:
    """Measure the generators alone, alternating between them."""
    from portraitist.app.avatar import Portraitist

    models = {name: Portraitist(folder / f"{channels}", threads=2) for name, (channels, _) in SHAPES.items()}
    picture = np.random.default_rng(1).integers(0, 256, (SIDE_PX, SIDE_PX, 3), np.uint8)
    mask = np.full((SIDE_PX, SIDE_PX), 255, np.uint8)
    cpu_s: dict[str, list[float]] = {name: [] for name in SHAPES}
    for _ in range(WARM + ROUNDS // 2):
        for name, portraitist in models.items():
            started = time.process_time()
            portraitist.paint_squares([picture], [mask])
            cpu_s[name].append(time.process_time() - started)
    medians = {name: _median(values[WARM:]) for name, values in cpu_s.items()}
    cartoongan = list(medians.values())[-1]
    return {name: {"cpu_s": value, "ratio": round(value / cartoongan, 3)} for name, value in medians.items()}


def command(folder: Path) -> dict[str, Any]:
    """Measure the command from its start to the first avatar."""
    wall_s, cpu_s = [], []
    for run in range(5):
        arguments = [
            "paint",
            str(folder / "phone.jpg"),
            "-o",
            str(folder / f"out{run}.png"),
            "--model",
            str(folder / "16"),
        ]
        code = f"import sys; sys.argv[1:] = {arguments!r}; from portraitist.cli import main; main()"
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall_s.append(time.perf_counter() - started)
        cpu_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"wall_s": _median(wall_s), "cpu_s": _median(cpu_s), "peak_mib": round(peak)}


def batch(folder: Path, workers: int) -> dict[str, Any]:
    """Measure a batch of selfies."""
    from portraitist.app.avatar import Portraitist
    from portraitist.app.compositing import Finish
    from portraitist.app.paint_files import PaintOptions, expand_paths, paint_batch

    selfies = expand_paths([folder / "batch"]).selfies
    outputs = [folder / f"batch{workers}" / f"{path.stem}.png" for path in selfies]
    portraitist = Portraitist(folder / "16", threads=1)
    started, cpu_started = time.perf_counter(), time.process_time()
    results = list(paint_batch(portraitist, selfies, outputs, PaintOptions(Finish()), workers))
    wall_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_started
    painted = sum(bool(result.written) for result in results)
    return {"painted": painted, "wall_s": round(wall_s, 1), "cpu_s": round(cpu_s, 1), "peak_mib": _peak_mib()}


def _median(values: list[float]) -> float:
    return round(float(np.median(values)), 3)


def _peak_mib() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Prepare the inputs, then measure each part in its own process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("prepare", "single", "generators", "command", "batch 1", "batch 2"):
            print(f"{part} (load {os.getloadavg()[0]:.1f}): ", end="", flush=True)
            subprocess.run([sys.executable, "-m", "benchmarks.avatar", str(folder), *part.split()], check=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        name, part, *workers = sys.argv[1:]
        numbers = batch(Path(name), int(workers[0])) if workers else globals()[part](Path(name))
        print(json.dumps(numbers, indent=1 if part == "generators" else None))
    else:
        main()
