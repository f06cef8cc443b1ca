"""Measure stage clean: speed on one and on two cores, memory for few and for many pictures, memory to decode one file.

    python benchmarks/clean.py speed     300 JPEG files of 480 x 600 pixels; one core and two, alternating, three times
    python benchmarks/clean.py memory    1000 and 20000 JPEG files of 128 x 160 pixels
    python benchmarks/clean.py decode    one file of 49 or 108 megapixels of each kind, scaled down and at full size

Prints a Markdown table. Each measurement runs in its own process. `speed` and `memory` run the code of stage clean. MB
are 2^20 bytes.
"""
# ruff: noqa: E402  imports follow the change of sys.path

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from pipeline.clean import main as clean
from portraitist.clean.decode import RejectedError, decode_picture
from portraitist.clean.params import CleanParams
from portraitist.core import manifest
from portraitist.core.params import load
from portraitist.core.shards import ShardWriter
from portraitist.core.workers import WorkersParams

CORES = os.sched_getaffinity(0)
COLUMNS = ["id", "kind", "source", "name", "status", "url", "group"]
LARGE = (7000, 7000)
PHONE = (12000, 9000)


def encode(picture: Image.Image, form: str, **options: object) -> bytes:
    """Encode a picture in one of Pillow's formats."""
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def rotated() -> Image.Exif:
    """Return EXIF data of a picture that must be rotated by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


FILES: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encode(Image.new("RGB", LARGE), "JPEG"),
    "JPEG, rotated": lambda: encode(Image.new("RGB", LARGE), "JPEG", exif=rotated()),
    "JPEG, progressive": lambda: encode(Image.new("RGB", LARGE), "JPEG", progressive=True),
    "JPEG, 108 megapixels": lambda: encode(Image.new("RGB", PHONE), "JPEG"),
    "JPEG, 108 megapixels, progressive": lambda: encode(Image.new("RGB", PHONE), "JPEG", progressive=True),
    "PNG, 16-bit grey": lambda: encode(Image.fromarray(np.zeros(LARGE, np.uint16)), "PNG"),
    "PNG, RGB, rotated": lambda: encode(Image.new("RGB", LARGE), "PNG", exif=rotated()),
    "PNG, RGBA, rotated": lambda: encode(Image.new("RGBA", LARGE), "PNG", exif=rotated()),
    "PNG, palette with transparency": lambda: encode(Image.new("P", LARGE), "PNG", transparency=0),
    "TIFF, float": lambda: encode(Image.fromarray(np.zeros(LARGE, np.float32)), "TIFF", compression="tiff_deflate"),
    "WebP, RGBA": lambda: encode(Image.new("RGBA", LARGE), "WEBP"),
}


def photograph(rng: np.random.Generator, width: int, height: int) -> bytes:
    """Return a JPEG of smooth colours and grain, with about the file size of a photograph."""
    smooth = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 9, (height, width, 1))
    return encode(Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8)), "JPEG", quality=85)


def write_source(folder: Path, count: int, width: int, height: int) -> int:
    """Write what stage collect outputs for `count` different pictures; return their mean file size."""
    rng, rows, total = np.random.default_rng(1), [], 0
    with ShardWriter(folder, 1000) as shards:
        for number in range(count):
            data = photograph(rng, width, height)
            picture, total = manifest.picture_id(data), total + len(data)
            shards.add(picture, {"bytes": data})
            kind = manifest.KINDS[number % 2]
            rows.append({"id": picture, "kind": kind, "source": folder.name, "name": f"{number}.jpg", "status": "kept"})
    manifest.write(rows, folder / "manifest.csv", COLUMNS)
    return total // count


def resident_mb(process: str) -> float:
    """Return the resident memory of a process and its children; shared pages are counted for each of them."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    sizes = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    return sum(sizes) / 1024 + sum(map(resident_mb, children))


def peak_mb() -> float:
    """Return the peak resident memory of this process. Unlike ru_maxrss, it does not include the parent's."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024


def measure_stage(raw: Path) -> None:
    """Run the stage in this process and print its costs as JSON."""
    params, peak, done = load(CleanParams, "clean", ROOT), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], resident_mb(str(os.getpid())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder:
        started = time.perf_counter()
        workers = WorkersParams(backend="joblib", processes=len(os.sched_getaffinity(0)))
        sources = sorted(raw.iterdir())
        clean(
            params,
            workers,
            sources,
            *(Path(folder) / name for name in ("none.txt", "clean", "clean.json", "collect.json")),
        )
        wall = time.perf_counter() - started
        kept = len(manifest.kept_rows(Path(folder) / "clean" / "manifest.csv"))
    done.set()
    watcher.join()
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = [usage.ru_utime + usage.ru_stime for usage in usages]
    print(json.dumps({"wall_s": wall, "parent_cpu_s": cpu[0], "cpu_s": sum(cpu), "peak_mb": peak[0], "kept": kept}))


def measure_decoding(file: Path, max_side_px: int) -> None:
    """Decode a file in this process and print the additional peak memory as JSON."""
    data = file.read_bytes()
    decode_picture(encode(Image.new("RGB", (64, 64)), "PNG"))  # to load the libraries
    before = peak_mb()
    try:
        decode_picture(data, max_side_px=max_side_px)
    except RejectedError as error:
        sys.exit(str(error))
    print(json.dumps({"peak_mb": peak_mb() - before}))


def run(cores: set[int], *arguments: str) -> dict[str, float]:
    """Run this script in a new process on these cores; stage clean gets one worker per core."""
    os.sched_setaffinity(0, cores)  # the new process inherits it
    try:
        done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=True)
    finally:
        os.sched_setaffinity(0, CORES)
    return json.loads(done.stdout.splitlines()[-1])


def speed(folder: Path) -> None:
    """Compare one core with two, alternating."""
    count = 300
    size = write_source(folder / "raw" / "web", count, 480, 600)
    first, second = sorted(CORES)[:2]
    print(f"{count} JPEG files of 480 x 600 pixels, {size / 1000:.0f} kB each; load {os.getloadavg()[0]:.1f}\n")
    print("| round | one core, pictures/s | two cores, pictures/s | ratio | CPU ms/picture, one and two | load |")
    print("|---|---|---|---|---|---|")
    for number in range(1, 4):
        results = [run(cores, "stage", str(folder / "raw")) for cores in ({first}, {first, second})]
        assert [result["kept"] for result in results] == [count, count]
        costs = " and ".join(f"{result['cpu_s'] / count * 1000:.1f}" for result in results)
        one, two = (count / result["wall_s"] for result in results)
        print(
            f"| {number} | {one:.1f} | {two:.1f} | {two / one:.2f} | {costs} | {os.getloadavg()[0]:.1f} |", flush=True
        )


def memory(folder: Path) -> None:
    """Compare few pictures with many."""
    print("| pictures | peak RSS of the stage and its workers, MB | seconds | CPU ms/picture | parent's |")
    print("|---|---|---|---|---|")
    for count in (1000, 20000):
        write_source(folder / str(count) / "web", count, 128, 160)
        result = run(CORES, "stage", str(folder / str(count)))
        assert result["kept"] == count
        print(
            f"| {count} | {result['peak_mb']:.0f} | {result['wall_s']:.0f} | {result['cpu_s'] / count * 1000:.2f} "
            f"| {result['parent_cpu_s'] / count * 1000:.2f} |",
            flush=True,
        )


def decode(folder: Path) -> None:
    """Measure the decoding of one large file of each kind."""
    print("| file | scaled down to 2016 px, MB | at most 8192 px, MB |")
    print("|---|---|---|")
    for name, make in FILES.items():
        (folder / "file").write_bytes(make())
        small, large = (run(CORES, "file", str(folder / "file"), str(side)) for side in (2016, 8192))
        print(f"| {name} | {small['peak_mb']:.0f} | {large['peak_mb']:.0f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["stage"]:
        measure_stage(Path(sys.argv[2]))
    elif sys.argv[1:2] == ["file"]:
        measure_decoding(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            {"speed": speed, "memory": memory, "decode": decode}[sys.argv[1]](Path(scratch))
