"""How fast stage clean is on two cores beside one, and how much memory it takes for few and for many pictures.

    python benchmarks/clean.py speed     300 JPEG files of 480 x 600 pixels; one core and two, in turn, three times
    python benchmarks/clean.py memory    1000 and 20000 JPEG files of 128 x 160 pixels

Prints a table in Markdown. Each run is a process of its own that does what `dvc repro clean` does.
"""

import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from pipeline.clean import main as clean
from portraitist.clean.params import CleanParams
from portraitist.core import manifest
from portraitist.core.params import load
from portraitist.core.shards import ShardWriter

CORES = os.sched_getaffinity(0)
COLUMNS = ["id", "kind", "source", "name", "status", "url", "group"]


def photograph(rng: np.random.Generator, width: int, height: int) -> bytes:
    """JPEG bytes with blots and grain, as large as a photograph's of these sides."""
    blots = Image.fromarray(rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 9, (height, width, 1))
    buffer = io.BytesIO()
    Image.fromarray((np.asarray(blots) + grain).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def collected(folder: Path, count: int, width: int, height: int) -> int:
    """So many different pictures as stage collect leaves them; their mean size in bytes."""
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
    """What a process and its children hold in memory now; pages that they share count for each."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    held = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
    return sum(held) / 1024 + sum(map(resident_mb, children))


def measured(raw: Path) -> None:
    """The stage, here and now; prints what it took."""
    params, most, done = load(CleanParams, "clean", ROOT), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], resident_mb(str(os.getpid())))

    watching = threading.Thread(target=watch)
    watching.start()
    with tempfile.TemporaryDirectory(dir=raw.parent) as place:
        started = time.perf_counter()
        clean(params, raw, *(Path(place) / name for name in ("none.txt", "clean", "clean.json", "collect.json")))
        wall = time.perf_counter() - started
        kept = len(manifest.kept_rows(Path(place) / "clean" / "manifest.csv"))
    done.set()
    watching.join()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = [one.ru_utime + one.ru_stime for one in used]
    print(json.dumps({"wall_s": wall, "parent_cpu_s": cpu[0], "cpu_s": sum(cpu), "peak_mb": most[0], "kept": kept}))


def run(raw: Path, cores: set[int]) -> dict[str, float]:
    """The stage in a process of its own, on these cores, with a worker on each."""
    command = [sys.executable, __file__, "measured", str(raw)]
    os.sched_setaffinity(0, cores)  # the stage inherits it
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    finally:
        os.sched_setaffinity(0, CORES)
    return json.loads(done.stdout.splitlines()[-1])


def speed(place: Path) -> None:
    """One core against two, in turn."""
    count = 300
    size = collected(place / "raw" / "web", count, 480, 600)
    first, second = sorted(CORES)[:2]
    print(f"{count} JPEG files of 480 x 600 pixels, {size / 1000:.0f} kB each; load {os.getloadavg()[0]:.1f}\n")
    print("| round | one core, pictures/s | two workers, pictures/s | ratio | CPU ms/picture, one and two | load |")
    print("|---|---|---|---|---|---|")
    for turn in range(1, 4):
        one, two = run(place / "raw", {first}), run(place / "raw", {first, second})
        assert one["kept"] == two["kept"] == count
        costs = " and ".join(f"{each['cpu_s'] / count * 1000:.1f}" for each in (one, two))
        rates = [count / each["wall_s"] for each in (one, two)]
        told = f"| {turn} | {rates[0]:.1f} | {rates[1]:.1f} | {rates[1] / rates[0]:.2f} | {costs}"
        print(f"{told} | {os.getloadavg()[0]:.1f} |", flush=True)


def memory(place: Path) -> None:
    """Few pictures and many."""
    print("| pictures | peak RSS of the stage and its two children, MB | seconds | CPU ms/picture | parent's |")
    print("|---|---|---|---|---|")
    for count in (1000, 20000):
        collected(place / str(count) / "web", count, 128, 160)
        found = run(place / str(count), CORES)
        assert found["kept"] == count
        print(
            f"| {count} | {found['peak_mb']:.0f} | {found['wall_s']:.0f} | {found['cpu_s'] / count * 1000:.2f} "
            f"| {found['parent_cpu_s'] / count * 1000:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["measured"]:
        measured(Path(sys.argv[2]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            {"speed": speed, "memory": memory}[sys.argv[1]](Path(folder))
