"""Stage split: assign every face with a mask to a part (train, validation, test or aside) -> data/split.csv."""

import sys
from pathlib import Path

from pipeline.stage import check_sources_or_exit, load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.files import write_json
from portraitist.split import assign
from portraitist.split.params import SplitParams
from portraitist.split.read_faces import read_faces


def main(
    params: SplitParams, sources: list[Path], clean: Path, crops: Path, masks: Path, split: Path, leakage: Path
) -> None:
    """Write the part of each face (train, validation, test or aside), and a report on leaks.

    Faces in part "aside" are not used, because each of them has a near-duplicate in another part. The program exits
    with an error if there is a leak, as `assign.count_leaks` defines it, or if a part has too few faces.
    """
    table, leaks = assign.split_faces(read_faces(sources, clean, crops, masks), params)
    counts = assign.count_parts(table)
    write_json(leakage, {"leaks": leaks, "pictures": counts})
    assign.check_leaks(leaks)
    assign.check_parts(counts, params)
    print(f"split, selfies + portraits: {assign.describe_parts(counts)}", file=sys.stderr)
    manifest.write(manifest.to_records(table), split, ["id", "kind", "part", "group", "pair"])


if __name__ == "__main__":
    sources, raw, *paths = path_options("sources", "raw", "clean", "crops", "masks", "split", "leakage")
    params = load_or_exit(SplitParams, "split")
    check_sources_or_exit(sources, raw)
    main(params, manifest.source_folders(raw, sources), *paths)
