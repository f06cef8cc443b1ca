"""Stage clean: data/raw/* -> data/clean. Plain upright pictures; broken, useless, doubled and blocked ones refused."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from pipeline.stage import load_or_exit
from portraitist.clean.params import CleanParams
from portraitist.clean.sandbox import Limits, Message, Sandbox
from portraitist.clean.screening import Screener, make_request
from portraitist.collect.blocklist import Blocklist, BlocklistError
from portraitist.core import manifest
from portraitist.core.shards import Shards, ShardWriter
from portraitist.reporting.stage_report import write_collect_metrics, write_stage_metrics

FOUND = ["id", "kind", "source"]
MEASURED = ["width", "height", "sharpness", "entropy_bits", "colour", "dhash"]
COLUMNS = [*FOUND, "status", "reason", *MEASURED, "same_as", "relation"]


def candidates(raw: dict[str, Shards], sieve: Screener) -> list[dict[str, Any]]:
    """A row for each collected picture, by id; with its status, if nobody need look at it."""
    frame = pd.concat(
        manifest.kept_rows(shards.folder / "manifest.csv").assign(source=name) for name, shards in raw.items()
    )
    frame["plain"] = [not raw[one.source].has(one.id, "truth.png") for one in frame.itertuples()]
    found = frame.sort_values(["id", "plain"], kind="stable")  # of equal bytes first those with an exact mask
    statuses = sieve.before(found, lambda row: raw[row["source"]].read(row["id"], "bytes"))
    known = zip(*(found[name] for name in FOUND), strict=True)
    return [dict(zip(FOUND, one, strict=True)) | status for one, status in zip(known, statuses, strict=True)]


def main(params: CleanParams, folder: Path, listed: Path, dest: Path, report: Path, collected: Path) -> None:
    """Decode every collected picture in a child process; of those that are one to the eye, the largest stays."""
    sources = manifest.source_folders(folder)
    write_collect_metrics(sources, collected)
    raw = {source.name: Shards(source) for source in sources}
    sieve = Screener(Blocklist.read(listed), params)
    rows = candidates(raw, sieve)
    unseen = [row for row in rows if "status" not in row]
    limits = Limits(params.task_memory_mb, params.task_cpu_s, params.task_wall_s)
    with (
        Sandbox("portraitist.clean.screening:screen", limits) as sandbox,
        ShardWriter(dest, params.shard_size) as shards,
    ):

        def read(look: str) -> Iterator[tuple[dict[str, Any], Message]]:
            told = (make_request(raw[row["source"]].members(row["id"]), row["kind"], look, params) for row in unseen)
            return zip(unseen, tqdm(sandbox.map(told), f"clean, {look}", len(unseen), disable=None), strict=True)

        areas = {row["id"]: answer.about.get("area", 0) for row, answer in read("area")}
        unseen.sort(key=lambda row: (-areas[row["id"]], row["id"]))
        for row, answer in read("all"):
            row.update(sieve.after(row["id"], answer))
            if row["status"] == "kept":
                shards.add(row["id"], answer.parts)
    write_stage_metrics(manifest.write(rows, dest / "manifest.csv", COLUMNS), "clean", report)


if __name__ == "__main__":
    params = load_or_exit(CleanParams, "clean")
    try:
        main(params, *map(Path, sys.argv[1:]))
    except BlocklistError as error:
        sys.exit(f"clean: {error}")
