"""Stage split: who is trained on, looked at, and tested on -> data/split.csv; the leaks, which must be none."""

import json
import sys
from pathlib import Path

import pandas as pd

from pipeline.stage import load_or_exit
from portraitist.core import manifest
from portraitist.split.assign import assign_parts, count_leaks, near_pairs
from portraitist.split.params import SplitParams


def named_in(source: Path) -> pd.DataFrame:
    """Each picture's group and pair, as its source names them."""
    rows = manifest.kept_rows(source / "manifest.csv")[["id", "group", "pair"]]
    rows["pair"] = rows["pair"].where(rows["pair"] == "", f"{source.name}/" + rows["pair"])
    return rows


def main(params: SplitParams, masks: Path, crops: Path, clean: Path, split: Path, leakage: Path, raw: Path) -> None:
    """Split every masked face by its group, and count what stands on two sides; any leak ends the run."""
    named = pd.concat(map(named_in, manifest.source_folders(raw)))
    named = named.sort_values(["pair", "group"], ascending=False).drop_duplicates("id")  # two may hold one picture
    known = (
        manifest.kept_rows(clean / "manifest.csv")[["id", "dhash"]]
        .merge(named, on="id")
        .rename(columns={"id": "picture"})
    )
    frame = manifest.kept_rows(masks / "manifest.csv")[["id", "kind"]]
    frame = frame.merge(manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]], on="id").merge(
        known, on="picture"
    )
    for name in ("pair", "picture"):  # a photo and the painting made of it are never on two sides
        frame["group"] = frame["group"].where(frame["group"] != "", frame[name])
    frame["pair"] = frame["pair"].where(frame["id"] == frame["picture"], "")  # the largest face is meant
    groups, near = list(frame["group"]), near_pairs([int(value, 16) for value in frame["dhash"]], params.near_bits)
    frame["part"] = assign_parts(groups, near, params)
    count = count_leaks(list(frame["part"]), groups, near)
    sizes = frame.groupby(["kind", "part"]).size()
    report = {"leaks": count, "pictures": {f"{kind}/{part}": int(n) for (kind, part), n in sizes.items()}}
    leakage.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if count:
        sys.exit(f"split: {count} pairs of near pictures stand on two sides")
    manifest.write(frame.to_dict("records"), split, ["id", "kind", "part", "group", "pair"])


if __name__ == "__main__":
    main(load_or_exit(SplitParams, "split"), *map(Path, sys.argv[1:]))
