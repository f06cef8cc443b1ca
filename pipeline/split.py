"""Stage split: assign every face with a mask to a part (train, validation, test or aside) -> data/split.csv."""

import sys
from pathlib import Path

import pandas as pd

from pipeline.stage import check_sources_or_exit, load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.files import write_json
from portraitist.split.assign import check_parts, count_parts, describe_parts, join_sources, split_faces
from portraitist.split.params import SplitParams


def read_source(folder: Path) -> pd.DataFrame:
    """Return id, group (person or artist) and pair of each picture of a source.

    `pair` identifies a photo and its painting. The source's name is prepended, so that pairs of two sources differ.
    """
    rows = manifest.kept_rows(folder / "manifest.csv")[["id", "group", "pair"]]
    rows["pair"] = rows["pair"].where(rows["pair"] == "", f"{folder.name}/" + rows["pair"])
    return rows


def main(
    params: SplitParams, sources: list[Path], clean: Path, crops: Path, masks: Path, split: Path, leakage: Path
) -> None:
    """Write the part of each face (train, validation, test or aside), and a report on leaks.

    Faces in part "aside" are not used, because each of them has a near-duplicate in another part.

    A leak is a pair of faces in two different parts of train, validation and test, if the two faces are near-duplicates
    or belong to the same group. The program exits with an error if there is a leak, or if a part has too few faces.
    """
    collected = pd.concat(map(read_source, sources))
    pictures = manifest.kept_rows(clean / "manifest.csv")[["id", "dhash"]]
    faces = manifest.kept_rows(masks / "manifest.csv")[["id", "kind"]]
    faces = faces.merge(manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]], on="id")
    table, leaks = split_faces(join_sources(faces, pictures, collected), params)
    counts = count_parts(table)
    write_json(leakage, {"leaks": leaks, "pictures": counts})
    if leaks:
        sys.exit(
            f"split: {leaks} pairs of faces in different parts are near-duplicates or of the same group; this is an "
            "error in split/assign.py, please report it"
        )
    check_parts(counts, params)
    print(f"split, selfies + portraits: {describe_parts(counts)}", file=sys.stderr)
    manifest.write(manifest.to_records(table), split, ["id", "kind", "part", "group", "pair"])


if __name__ == "__main__":
    sources, raw, *paths = path_options("sources", "raw", "clean", "crops", "masks", "split", "leakage")
    params = load_or_exit(SplitParams, "split")
    check_sources_or_exit(sources, raw)
    main(params, manifest.source_folders(raw, sources), *paths)
