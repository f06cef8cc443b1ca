"""Stage clean: decode and check every collected picture, and write the pictures that are kept to shards."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from portraitist.clean.dedupe import Fingerprint
from portraitist.clean.params import CleanParams
from portraitist.clean.screening import URL_COLUMNS, Row, Screener
from portraitist.clean.worker import FINGERPRINTS, CopyWorker, ScreenWorker
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.shards import Shards, shard_name, write_index
from portraitist.core.workers import ShardTask, WorkersParams, map_shards, shard_tasks

SOURCE_COLUMNS = ["id", "kind", "source"]
MEASURE_COLUMNS = ["width", "height", "sharpness", "entropy_bits", "colour", "dhash"]
COLUMNS = [*SOURCE_COLUMNS, "status", "reason", *MEASURE_COLUMNS, "same_as", "relation"]


def clean_sources(
    params: CleanParams, workers: WorkersParams, sources: list[Path], blocklist: Blocklist, out: Path
) -> pd.DataFrame:
    """Write the pictures that are kept, as shards, and a manifest of all pictures; return the manifest.

    First, worker processes decode and check the pictures, one shard at a time. Then this process searches for
    near-duplicates. It starts with the largest picture, so that the largest of several near-duplicates is kept.
    Finally, worker processes copy the kept pictures to shards of equal size.

    Args:
        params: section `clean` of params.yaml.
        workers: number of worker processes, and the library that starts them (joblib or Ray).
        sources: output folder of stage collect for each source.
        blocklist: pictures that must not be used.
        out: the folder to write.
    """
    passed = out / "passed"
    passed.mkdir(parents=True)
    raw = {source.name: Shards(source) for source in sources}
    screener = Screener(blocklist, params)
    rows = _candidates(raw, screener)
    undecided = {row["id"]: row for row in rows if "status" not in row}
    _screen(params, workers, raw, undecided, passed)

    shards, kept = Shards(passed), []
    largest_first = sorted(shards, key=lambda name: (-undecided[name]["width"] * undecided[name]["height"], name))
    for picture in largest_first:
        outcome = screener.check_near_duplicates(picture, Fingerprint.parse_all(shards.read(picture, FINGERPRINTS)))
        undecided[picture].update(outcome)
        if not outcome:
            kept.append({"id": picture})

    tasks = [
        ShardTask(shard_name(number), tuple(chosen), shards.select(picture["id"] for picture in chosen))
        for number, start in enumerate(range(0, len(kept), params.shard_size))
        if (chosen := kept[start : start + params.shard_size])
    ]
    write_index(out, map_shards(partial(CopyWorker, out), tasks, workers, "clean, copy"))
    shutil.rmtree(passed)
    return manifest.write(rows, out / "manifest.csv", COLUMNS)


def _screen(
    params: CleanParams, workers: WorkersParams, raw: dict[str, Shards], undecided: dict[str, Row], dest: Path
) -> None:
    """Decode and check pictures in worker processes, and update their rows of the manifest.

    Args:
        params: section `clean` of params.yaml.
        workers: number of worker processes, and the library that starts them (joblib or Ray).
        raw: collected pictures of each source.
        undecided: rows, by id, of the pictures to check.
        dest: folder to which pictures that pass are written, as shards, with their fingerprints.
    """
    tasks: list[ShardTask] = []
    for source, shards in raw.items():
        pictures = {name: row for name, row in undecided.items() if row["source"] == source}
        for task in shard_tasks(shards, pictures):
            tasks.append(replace(task, name=shard_name(len(tasks))))  # because every source has a 00000.tar

    def index() -> Iterator[str]:
        for screened in map_shards(partial(ScreenWorker, params, dest), tasks, workers, "clean"):
            for picture, row in screened.rows.items():
                undecided[picture].update(row)
            yield screened.index

    write_index(dest, index())


def _candidates(raw: dict[str, Shards], screener: Screener) -> list[dict[str, Any]]:
    """Return a row of the manifest for each collected picture, sorted by id.

    The rows of blocklisted and repeated files have a status already. The other files are decoded later.
    """
    used = [*SOURCE_COLUMNS, "group", *URL_COLUMNS]
    frame = pd.concat(
        manifest.kept_rows(shards.folder / "manifest.csv").assign(source=name).filter(used)
        for name, shards in raw.items()
    )
    frame["no_truth"] = [not raw[row.source].has(row.id, "truth.png") for row in frame.itertuples()]
    frame = frame.sort_values(["id", "no_truth"], kind="stable")  # of equal files, use one with a ground-truth mask
    outcomes = screener.prefilter(frame, lambda row: raw[row["source"]].read(row["id"], "bytes"))
    rows = zip(*(frame[name] for name in SOURCE_COLUMNS), strict=True)
    return [dict(zip(SOURCE_COLUMNS, row, strict=True)) | outcome for row, outcome in zip(rows, outcomes, strict=True)]
