"""Measure clean, crop and mask on many pictures, by joblib and by a Ray cluster of two nodes on this machine.

    python -m benchmarks.scale stages WORK --pictures 20000 --backend joblib
    python -m benchmarks.scale stages WORK --pictures 20000 --backend ray --kill
    python -m benchmarks.scale near_duplicates --pictures 1000000
    python -m benchmarks.scale dvc WORK --pictures 200000

`stages` writes randomly changed copies of the sample to WORK/raw, unless they exist, and the outputs of the stages to
WORK/<backend>. It prints times and memory for each quarter of a stage, and one MD5 of all outputs. MB are 2^20 bytes.
--kill ends the second node of the cluster in the middle of each stage.

`near_duplicates` measures the time of the search for near-duplicates, on random hashes. `dvc` measures the time of
`dvc status` and `dvc repro` without changes, in a new project with that many pictures in shards of 1000.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import yaml

from portraitist.clean.decode import decode_picture
from portraitist.clean.dedupe import Fingerprint, SeenPictures
from portraitist.core import manifest
from portraitist.core.shards import ShardWriter

ROOT = Path(__file__).resolve().parents[1]
SIDE, QUALITY = 192, 90
COLUMNS = ["id", "kind", "source", "name", "status", "url", "group"]
STAGES: dict[str, dict[str, str]] = {  # the options of each stage's script; the first folder is its output
    "clean": {"out": "clean", "sources": "sources", "raw": "raw", "blocklist": "none", "collect-metrics": "raw.json"},
    "crop": {"crops": "crop", "clean": "clean", "pretrained": "pretrained", "sheet": "crop.jpg"},
    "mask": {"masks": "mask", "crops": "crop", "pretrained": "pretrained", "sheet": "mask.jpg"},
}
INPUTS = {"clean": "raw/web", "crop": "clean", "mask": "crop"}  # the shards that each stage reads
RAY_OPTIONS = {"RAY_raylet_start_wait_time_s": "300", "RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}


def jittered(path: Path, rng: np.random.Generator) -> bytes:
    """Return a JPEG of a picture of the sample, with random changes that let most copies pass as different pictures.

    Rotation, scale, position and light change, and coarse random patches are added.
    """
    picture = decode_picture(path.read_bytes()).picture
    centre = picture.shape[1] / 2
    moved = cv2.getRotationMatrix2D((centre, centre), rng.uniform(-15, 15), SIDE / 2 / centre * rng.uniform(0.75, 1.15))
    moved[:, 2] += SIDE / 2 - centre + rng.uniform(-12, 12, 2)
    copy = cv2.warpAffine(picture, moved, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
    coarse = cv2.resize(rng.normal(0, 25, (6, 6, 3)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 3, (SIDE, SIDE, 1))
    changed = (copy * rng.uniform(0.8, 1.1) + coarse + grain).clip(0, 255).astype(np.uint8)
    return cv2.imencode(".jpg", changed[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def write_source(folder: Path, count: int, shard_size: int) -> None:
    """Write what stage collect outputs for `count` jittered pictures."""
    paths = sorted((ROOT / "data" / "sample" / "selfies").iterdir())
    paths += sorted((ROOT / "data" / "sample" / "portraits").iterdir())
    rng, rows = np.random.default_rng(1), []
    with ShardWriter(folder, shard_size) as shards:
        for number in range(count):
            path = paths[number % len(paths)]
            data = jittered(path, rng)
            row = {"id": manifest.picture_id(data), "kind": path.parent.name, "source": folder.name, "status": "kept"}
            shards.add(row["id"], {"bytes": data})
            rows.append(row | {"name": f"{number}.jpg"})
    manifest.write(rows, folder / "manifest.csv", COLUMNS)


@contextmanager
def cluster() -> Iterator[Any]:
    """Start a Ray cluster of two nodes with one CPU each; yield it with the node that may be removed."""
    os.environ.update(RAY_OPTIONS)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 10**8}
    started = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **node})
    try:
        yield started, partial(started.add_node, **node)
    finally:
        started.shutdown()


def stages(arguments: argparse.Namespace) -> None:
    """Run the stages, and print times, memory and the MD5 of all outputs."""
    shard_size = max(arguments.pictures // 40, 1)
    raw, folder = arguments.work / "raw", arguments.work / arguments.backend
    if not raw.exists():
        write_source(raw / "web", arguments.pictures, shard_size)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "sources").mkdir(parents=True)
    (folder / "sources" / "web").touch()
    (folder / "raw").symlink_to(raw.resolve())
    (folder / "pretrained").symlink_to((ROOT / "models" / "pretrained").resolve())
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params |= {"shard_size": shard_size, "workers": {"backend": arguments.backend, "processes": 2}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    shutil.copytree(ROOT / "profiles", folder / "profiles")
    rows = []
    if arguments.backend == "joblib":
        for stage in STAGES:
            rows += measure(folder, stage, os.getpid())
    else:
        with cluster() as (ray, add_node):
            os.environ["RAY_ADDRESS"] = ray.address
            for stage in STAGES:
                remove = partial(ray.remove_node, add_node(), allow_graceful=False)
                rows += measure(folder, stage, os.getpid(), remove if arguments.kill else None)
                if not arguments.kill:
                    remove()
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4g"))
    files = sorted(path for name in STAGES for path in [folder / f"{name}.json", *(folder / name).iterdir()])
    digest = hashlib.md5("".join(hashlib.md5(path.read_bytes()).hexdigest() for path in files).encode())
    print(f"{len(files)} outputs, MD5 {digest.hexdigest()}")


def measure(folder: Path, stage: str, root: int, kill: Any = None) -> list[dict[str, Any]]:
    """Run a stage's script; return pictures per second, CPU time and memory for each quarter of its shards."""
    out, *_ = STAGES[stage].values()
    shards = len(list((folder / INPUTS[stage]).glob("*.tar")))
    words = [sys.executable, "-m", f"pipeline.{stage}", "--metrics", f"{stage}.json"]
    words += [word for name, value in STAGES[stage].items() for word in (f"--{name}", value)]
    paths = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    before = _cpu_of_tree(root)
    start, samples = time.time(), [(0, 0.0, 0.0, 0.0, 0.0)]
    with subprocess.Popen(words, cwd=folder, env=paths) as process:
        while process.poll() is None:
            done = max(len(list((folder / out).glob("*.tar"))), len(list((folder / out / "passed").glob("*.tar"))))
            tree = _tree(root)
            cpu = max(samples[-1][2], _cpu_of_tree(root) - before)
            memory = sum(map(_memory_mb, tree)), _memory_mb(process.pid)
            samples.append((max(done, samples[-1][0]), time.time() - start, cpu, *memory))
            if kill and done >= shards // 2:
                kill()
                kill = None
                print(f"{stage}: second node killed after {done} shards", flush=True)
            time.sleep(1)
    if process.returncode:
        sys.exit(f"stage {stage} failed with exit code {process.returncode}")
    pictures = len(manifest.read(folder / out / "manifest.csv"))
    rows, last = [], samples[0]
    for quarter in range(4):
        done = [4 * min(sample[0], shards - 1) // shards for sample in samples]
        part = [sample for sample, at in zip(samples, done, strict=True) if at == quarter] or [last]
        row = {"stage": stage, "quarter": quarter + 1, "s": part[-1][1] - last[1]}
        row["CPU ms/picture"] = 4000 * (part[-1][2] - last[2]) / pictures
        row |= {"driver, MB": max(sample[4] for sample in part), "all, MB": max(sample[3] for sample in part)}
        rows.append(row)
        last = part[-1]
    return rows


def near_duplicates(arguments: argparse.Namespace) -> None:
    """Time the search for near-duplicates among the first pictures and among as many as --pictures."""
    rng = np.random.default_rng(1)
    seen = SeenPictures(max_hamming_distance=8, min_correlation=0.97)
    rows = []
    for number in range(arguments.pictures):
        data = rng.integers(0, 256, 72 + 256, np.uint8).tobytes()
        timed = number in {1000, 10_000, 100_000, arguments.pictures - 200}
        if timed:
            prints = [Fingerprint.parse_all(rng.integers(0, 256, 328, np.uint8).tobytes()) for _ in range(200)]
            start = time.process_time()
            for at, some in enumerate(prints):
                seen.find_or_add(f"{number}-{at}", some)
            rows.append({"pictures": number, "ms/picture": (time.process_time() - start) / 200 * 1000})
        seen._add(str(number), False, Fingerprint.parse_all(data)[0])
    memory = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    rss = next(int(line.split()[1]) for line in memory.splitlines() if line.startswith("Anonymous:")) / 1024
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))
    print(f"anonymous memory of the process: {rss:.0f} MB")


def dvc(arguments: argparse.Namespace) -> None:
    """Time `dvc status` and `dvc repro` without changes; three folders of shards hold all pictures."""
    project = arguments.work / "dvc"
    project.mkdir(parents=True)
    names, content = ("raw", "clean", "crop"), {}
    for name, source in zip(names, (None, *names), strict=False):
        with ShardWriter(project / f"made-{name}", 1000) as shards:
            for number in range(arguments.pictures):
                shards.add(f"{number:016x}", {"png": b"%d" % number})
        deps = {"deps": [source]} if source else {}
        content[name] = {"cmd": f"cp -r made-{name} {name}", "outs": [name], **deps}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": content}), encoding="utf-8")
    environment = os.environ | {"DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(project / "site")}

    def timed(*words: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=project, env=environment, check=True)
        return time.perf_counter() - start

    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    timed("init", "--quiet")
    timed("repro", "--quiet")
    rows = [{"command": f"dvc {word}", "s": timed(word)} for word in ("status", "repro", "status", "repro")]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))
    shutil.rmtree(project)


def _memory_mb(pid: int) -> float:
    """Return the proportional set size of a process (Linux)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _cpu_of_tree(root: int) -> float:
    """Return the CPU time of all descendants of a process, including those that have ended (Linux)."""
    total = 0
    for pid in _tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / os.sysconf("SC_CLK_TCK")


def _tree(pid: int) -> list[int]:
    try:
        found = [int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]
    except OSError:
        return []
    return [pid, *(descendant for child in found for descendant in _tree(child))]


def main() -> None:
    """Parse the command line and run one of the measurements."""
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=["stages", "near_duplicates", "dvc"])
    parser.add_argument("work", type=Path, nargs="?", default=Path(tempfile.gettempdir()) / "scale")
    parser.add_argument("--pictures", type=int, default=20000)
    parser.add_argument("--backend", choices=["joblib", "ray"], default="joblib")
    parser.add_argument("--kill", action="store_true")
    arguments = parser.parse_args()
    {"stages": stages, "near_duplicates": near_duplicates, "dvc": dvc}[arguments.measurement](arguments)


if __name__ == "__main__":
    main()
