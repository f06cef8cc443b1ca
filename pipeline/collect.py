"""Stage collect: a source -> data/raw/<source>. The bytes as they were found, and a row for each candidate."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from portraitist.params import CollectParams, source_or_exit
from portraitist.shards import ShardWriter

if TYPE_CHECKING:
    from portraitist.fetch import Web

COLUMNS = ["id", "kind", "source", "name", "verdict", "reason", "bytes", "format", "licence", "licence_url", "author"]
COLUMNS += ["url", "final_url", "page_url", "query", "group", "pair", "consent"]
BLOCKLIST = Path("data/blocklist.txt")


def leave_out(dest: Path) -> None:
    """What a source that is left out leaves: no picture and no row. Before anything is imported that takes long."""
    with ShardWriter(dest, 1):
        (dest / "manifest.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")


def main(name: str, params: CollectParams, web: "Web", dest: Path) -> None:
    """Save each picture's bytes once, and a row for every candidate; what came from the web is kept until all is."""
    from tqdm import tqdm  # noqa: PLC0415

    from portraitist import manifest  # noqa: PLC0415
    from portraitist.collect import collect  # noqa: PLC0415
    from portraitist.sources import source  # noqa: PLC0415
    from portraitist.spool import Spool  # noqa: PLC0415

    asked = params.model_dump_json(exclude={"limit", "shard_size"})
    rows, times = [], []
    with Spool(web, Path(".checkpoints") / f"collect-{name}-{sha256(asked.encode()).hexdigest()[:12]}") as spool:
        with ShardWriter(dest, params.shard_size) as shards:
            for one in tqdm(collect(name, source(name), params, spool, web.blocklist), f"collect {name}", disable=None):
                rows.append(one.row)
                if one.when:
                    times.append({"id": one.row["id"], "url": one.row["final_url"], "fetched_at": one.when})
                if one.members is not None:
                    shards.add(one.row["id"], one.members)
        manifest.write(rows, dest / "manifest.csv", COLUMNS)
        if times:
            manifest.write(times, dest / "fetched.csv", ["id", "url", "fetched_at"])
        spool.done()


def run(name: str, dest: Path) -> None:
    """Collect as params say; what keeps a source from it is one line and exit code 1."""
    params, fetching = source_or_exit(name)
    if not params.limit:
        leave_out(dest)
        return
    from portraitist.blocklist import Blocklist, BlocklistError  # noqa: PLC0415
    from portraitist.fetch import Web  # noqa: PLC0415
    from portraitist.guard import NobodyError  # noqa: PLC0415
    from portraitist.locked import BusyError  # noqa: PLC0415
    from portraitist.sources import SourceError  # noqa: PLC0415

    try:
        with Web(fetching, Blocklist.read(BLOCKLIST)) as web:
            main(name, params, web, dest)
    except (SourceError, BlocklistError, BusyError, NobodyError) as error:
        sys.exit(f"collect {name}: {error}")


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
