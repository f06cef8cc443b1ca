"""Stage collect: a source -> data/raw/<source>. The bytes as they were found, and a row for each candidate."""

import sys
from pathlib import Path

from tqdm import tqdm

from portraitist import manifest
from portraitist.manifest import Verdict
from portraitist.params import CollectParams, load_or_exit
from portraitist.shards import ShardWriter
from portraitist.sources import SourceError, source

COLUMNS = ["id", "kind", "source", "name", "verdict", "bytes", "licence", "author", "url", "group"]


def main(name: str, params: CollectParams, dest: Path) -> None:
    """Save every candidate's bytes once; a second picture of the same bytes is a row with its verdict."""
    rows = []
    with ShardWriter(dest, params.shard_size) as shards:
        found = source(name)(params) if params.limit else ()
        for candidate in tqdm(found, f"collect {name}", disable=None):
            picture = manifest.picture_id(candidate.data)
            verdict = Verdict.DUPLICATE if picture in shards.seen else Verdict.KEPT
            if verdict is Verdict.KEPT:
                truth = {"truth.png": candidate.truth} if candidate.truth else {}
                shards.add(picture, {"bytes": candidate.data, **truth})
            about = {key: getattr(candidate, key) for key in ("kind", "name", "licence", "author", "url", "group")}
            rows.append(about | {"id": picture, "source": name, "verdict": verdict.value, "bytes": len(candidate.data)})
    manifest.write(rows, dest / "manifest.csv", COLUMNS)


if __name__ == "__main__":
    try:
        main(sys.argv[1], load_or_exit(CollectParams, f"collect.{sys.argv[1]}"), Path(sys.argv[2]))
    except SourceError as error:
        sys.exit(f"collect {sys.argv[1]}: {error}")
