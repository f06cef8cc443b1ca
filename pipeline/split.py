"""Stage split: assign every masked face to a part -> data/split.csv; exit with an error if there are leaks."""

import sys
from pathlib import Path

import pandas as pd

from pipeline.stage import check_sources_or_exit, load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.files import write_json
from portraitist.split.assign import check_parts, count_parts, describe_parts, join_sources, split_faces
from portraitist.split.params import SplitParams


def read_source(folder: Path) -> pd.DataFrame:
    """Return group and pair of each picture of a source; pairs are prefixed with the source's name."""
    rows = manifest.kept_rows(folder / "manifest.csv")[["id", "group", "pair"]]
    rows["pair"] = rows["pair"].where(rows["pair"] == "", f"{folder.name}/" + rows["pair"])
    return rows


def main(
    params: SplitParams, sources: list[Path], clean: Path, crops: Path, masks: Path, split: Path, leakage: Path
) -> None:
    """Split the faces by group, and write the report; exit if there are leaks, or too few faces in a part."""
    collected = pd.concat(map(read_source, sources))
    pictures = manifest.kept_rows(clean / "manifest.csv")[["id", "dhash"]]
    faces = manifest.kept_rows(masks / "manifest.csv")[["id", "kind"]]
    faces = faces.merge(manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]], on="id")
    table, leaks = split_faces(join_sources(faces, pictures, collected), params)
    counts = count_parts(table)
    write_json(leakage, {"leaks": leaks, "pictures": counts})
    if leaks:
        sys.exit(f"split: {leaks} pairs of pictures in different parts are near-duplicates or of the same group")
    check_parts(counts, params)
    print(f"split, selfies + portraits: {describe_parts(counts)}", file=sys.stderr)
    manifest.write(manifest.to_records(table), split, ["id", "kind", "part", "group", "pair"])


if __name__ == "__main__":
    sources, raw, *paths = path_options("sources", "raw", "clean", "crops", "masks", "split", "leakage")
    params = load_or_exit(SplitParams, "split")
    check_sources_or_exit(sources, raw)
    main(params, manifest.source_folders(raw, sources), *paths)
