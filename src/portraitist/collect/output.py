"""The output folder of a source: shards with the original bytes, manifest.csv, and fetched.csv with download times."""

from collections.abc import Iterable
from pathlib import Path

from portraitist.collect.collector import Collected
from portraitist.core import manifest
from portraitist.core.shards import ShardWriter

MANIFEST_COLUMNS = ["id", "kind", "source", "name", "status", "reason", "bytes", "format", "licence", "licence_url"]
MANIFEST_COLUMNS += ["author", "url", "final_url", "page_url", "query", "group", "pair", "consent"]
FETCHED_COLUMNS = ["id", "url", "fetched_at"]


def write_output(collected: Iterable[Collected], folder: Path, shard_size: int) -> None:
    """Write the collected pictures and rows to a new folder, in the order in which they are yielded.

    Raises:
        FileExistsError: the folder already exists.
    """
    rows, downloads = [], []
    with ShardWriter(folder, shard_size) as shards:
        for item in collected:
            rows.append(item.row)
            if item.fetched_at:
                downloads.append({"id": item.row["id"], "url": item.row["final_url"], "fetched_at": item.fetched_at})
            if item.members is not None:
                shards.add(item.row["id"], item.members)
    manifest.write(rows, folder / "manifest.csv", MANIFEST_COLUMNS)
    if downloads:
        manifest.write(downloads, folder / "fetched.csv", FETCHED_COLUMNS)
