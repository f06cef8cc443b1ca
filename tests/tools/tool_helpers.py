"""Inputs of the review pages, and a running preference server."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from drawn import smooth
from server_thread import in_thread

from portraitist.clean.decode import CleanPicture
from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.tools.preference_server import PreferenceServer

HOSTILE = "<script>alert('x')</script>\"onerror=\"alert(1)' & <img src=https://evil.test/a.png>.jpg"
CLEAN = ["id", "kind", "source", "status", "reason", "width", "height", "sharpness", "same_as", "relation"]
ACCEPTED = [("selfies", 30.0), ("selfies", 7.5), ("portraits", 900.0), ("selfies", 12.25), ("portraits", 5.0)]
IDS = [f"{number:016x}" for number in range(1, 6)]
FACES = [f"{number:016x}" for number in range(12)]
LEVELS = {"selfies": 40, "ours": 120, "theirs": 200}  # grey level of each set's pictures


def write_data(root: Path) -> Path:
    """Write five accepted pictures, one of them with an alpha channel, and three rejected ones; return data/."""
    rows = [
        {"id": id_, "kind": kind, "source": "web", "status": "kept", "width": 56, "height": 40, "sharpness": sharpness}
        for id_, (kind, sharpness) in zip(IDS, ACCEPTED, strict=True)
    ]
    rejected = {"kind": "selfies", "source": "web"}
    rows += [
        rejected | {"id": "a" * 16, "status": "duplicate", "same_as": IDS[0], "relation": "trimmed"},
        rejected | {"id": "b" * 16, "status": "duplicate", "same_as": IDS[0], "relation": "near"},
        rejected | {"id": "c" * 16, "status": "unreadable", "reason": HOSTILE},
    ]
    with ShardWriter(root / "data" / "clean", 2) as shards:
        for number, id_ in enumerate(IDS):
            alpha = None if number else np.tile(np.arange(56, dtype=np.uint8) * 4, (40, 1))
            shards.add(id_, CleanPicture(smooth(number), alpha).members())
    manifest.write(rows, root / "data" / "clean" / "manifest.csv", CLEAN)
    (root / "data" / "raw" / "web").mkdir(parents=True)
    names = [
        {"id": row["id"], "name": HOSTILE if row["id"] in (IDS[1], "c" * 16) else "a.jpg", "status": "kept"}
        for row in rows
    ]
    manifest.write(names, root / "data" / "raw" / "web" / "manifest.csv", ["id", "name", "status"])
    return root / "data"


def write_shards(root: Path) -> Path:
    """Write a folder of shards for the selfies and for each method; return `root`."""
    for name, level in LEVELS.items():
        with ShardWriter(root / name, 5) as writer:
            for face in FACES:
                writer.add(face, {"png": encode_png(np.full((32, 32, 3), level, np.uint8))})
    return root


@contextmanager
def running_server(shards: Path, answers: Path, count: int = 50, seed: int = 1) -> Iterator[PreferenceServer]:
    """Run the preference server in a thread."""
    methods = {name: Shards(shards / name) for name in ("ours", "theirs")}
    server = PreferenceServer(methods, Shards(shards / "selfies"), answers, count, random.Random(seed), 0)
    with in_thread(server):
        yield server
