"""Stage clean: decode and screen every collected picture, and write those that are kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from portraitist.clean.params import CleanParams
from portraitist.clean.sandbox import Limits, Message, Sandbox
from portraitist.clean.screening import Scope, Screener, make_request
from portraitist.collect.blocklist import Blocklist
from portraitist.core import manifest
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards, ShardWriter

SOURCE_COLUMNS = ["id", "kind", "source"]
MEASURE_COLUMNS = ["width", "height", "sharpness", "entropy_bits", "colour", "dhash"]
COLUMNS = [*SOURCE_COLUMNS, "status", "reason", *MEASURE_COLUMNS, "same_as", "relation"]


def clean_sources(params: CleanParams, sources: list[Path], blocklist: Blocklist, out: Path) -> pd.DataFrame:
    """Write shards and a manifest of the sources' pictures to the folder `out`, and return the manifest.

    Files are decoded in worker processes, in descending order of area, so that the largest of near-duplicates is kept.
    """
    raw = {source.name: Shards(source) for source in sources}
    screener = Screener(blocklist, params)
    rows = _candidates(raw, screener)
    undecided = [row for row in rows if "status" not in row]
    limits = Limits(params.task_memory_mb, params.task_cpu_s, params.task_wall_s)
    with (
        Sandbox("portraitist.clean.screening:screen", limits) as sandbox,
        ShardWriter(out, params.shard_size) as shards,
    ):

        def responses(scope: Scope) -> Iterator[tuple[dict[str, Any], Message]]:
            requests = (
                make_request(raw[row["source"]].members(row["id"]), row["kind"], scope, params) for row in undecided
            )
            progress = tqdm(sandbox.map(requests), f"clean, {scope}", len(undecided), disable=None)
            return zip(undecided, progress, strict=True)

        areas = {row["id"]: response.content.get("area", 0) for row, response in responses("area")}
        undecided.sort(key=lambda row: (-areas[row["id"]], row["id"]))
        for row, response in responses("all"):
            row.update(screener.decide(row["id"], response))
            if row["status"] == Status.KEPT.value:
                shards.add(row["id"], response.parts)
    return manifest.write(rows, out / "manifest.csv", COLUMNS)


def _candidates(raw: dict[str, Shards], screener: Screener) -> list[dict[str, Any]]:
    """Return one row for each collected picture, sorted by id. Only rows without a status are decoded."""
    frame = pd.concat(
        manifest.kept_rows(shards.folder / "manifest.csv").assign(source=name) for name, shards in raw.items()
    )
    frame["no_truth"] = [not raw[row.source].has(row.id, "truth.png") for row in frame.itertuples()]
    frame = frame.sort_values(["id", "no_truth"], kind="stable")  # of equal files, prefer one with a ground-truth mask
    outcomes = screener.prefilter(frame, lambda row: raw[row["source"]].read(row["id"], "bytes"))
    rows = zip(*(frame[name] for name in SOURCE_COLUMNS), strict=True)
    return [dict(zip(SOURCE_COLUMNS, row, strict=True)) | outcome for row, outcome in zip(rows, outcomes, strict=True)]
