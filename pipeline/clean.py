"""Stage clean: data/raw/* -> data/clean. Plain upright pictures; broken, small and doubled ones refused by name."""

import sys
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from portraitist import manifest
from portraitist.clean import RefusedError, clean, dhash
from portraitist.dedupe import Seen
from portraitist.manifest import Verdict, sources_in
from portraitist.params import CleanParams, load_or_exit
from portraitist.report import write_collected, write_report
from portraitist.shards import Shards, ShardWriter

COLUMNS = ["id", "kind", "verdict", "reason", "width", "height", "dhash", "same_as"]


def main(params: CleanParams, folder: Path, dest: Path, report: Path, collected: Path) -> None:
    """Decode every collected picture within bounds; of near-duplicates the first by id stays."""
    sources = sources_in(folder)
    write_collected(sources, collected)
    raw = {str(source): Shards(source) for source in sources}
    found = pd.concat([manifest.kept(source / "manifest.csv").assign(folder=str(source)) for source in sources])
    rows, seen = [], Seen(params.same_within_bits)
    with ShardWriter(dest, params.shard_size) as shards:
        for row in tqdm(found.sort_values("id", kind="stable").to_dict("records"), "clean", disable=None):
            verdict = {"id": row["id"], "kind": row["kind"], "verdict": Verdict.KEPT.value}
            rows.append(verdict)
            try:
                truth = raw[row["folder"]].members(row["id"])
                cleaned = clean(truth.pop("bytes"), params)
            except RefusedError as error:
                verdict |= {"verdict": error.verdict.value, "reason": str(error)}
                continue
            height, width = cleaned.picture.shape[:2]
            verdict |= {"width": width, "height": height, "dhash": f"{dhash(cleaned):016x}"}
            same = seen.same_as(row["id"], dhash(cleaned))
            if same:
                verdict |= {"verdict": Verdict.DUPLICATE.value, "same_as": same}
                continue
            shards.add(row["id"], cleaned.members() | truth)
    write_report(manifest.write(rows, dest / "manifest.csv", COLUMNS), "clean", report)


if __name__ == "__main__":
    main(load_or_exit(CleanParams, "clean"), *map(Path, sys.argv[1:]))
