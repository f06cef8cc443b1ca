"""Stage collect: a source -> data/raw/<source>. The bytes as they were found, and a row for each candidate."""

import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.stage import load_or_exit
from portraitist.collect.params import SOURCES, CollectParams, FetchParams
from portraitist.core.shards import ShardWriter

if TYPE_CHECKING:
    pass

COLUMNS = ["id", "kind", "source", "name", "status", "reason", "bytes", "format", "licence", "licence_url", "author"]
COLUMNS += ["url", "final_url", "page_url", "query", "group", "pair", "consent"]
BLOCKLIST = Path("data/blocklist.txt")


def leave_out(dest: Path) -> None:
    """What a source that is left out leaves: no picture and no row. Before anything is imported that takes long."""
    with ShardWriter(dest, 1):
        (dest / "manifest.csv").write_text(",".join(COLUMNS) + "\n", encoding="utf-8")


def main(name: str, params: CollectParams, web: "HttpClient", dest: Path) -> None:
    """Save each picture's bytes once, and a row for every candidate; what came from the web is kept until all is."""
    from tqdm import tqdm

    from portraitist.collect.collector import collect_source
    from portraitist.collect.fetch_cache import FetchCache
    from portraitist.collect.sources import load_source
    from portraitist.core import manifest

    asked = params.model_dump_json(exclude={"limit", "shard_size"})
    rows, times = [], []
    with FetchCache(web, Path(".checkpoints") / f"collect-{name}-{sha256(asked.encode()).hexdigest()[:12]}") as spool:
        with ShardWriter(dest, params.shard_size) as shards:
            for one in tqdm(
                collect_source(name, load_source(name), params, spool, web.blocklist), f"collect {name}", disable=None
            ):
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
    fetching, params = load_or_exit(FetchParams, "fetch"), load_or_exit(SOURCES[name], f"collect.{name}")
    if not params.limit:
        leave_out(dest)
        return
    from portraitist.collect.blocklist import Blocklist, BlocklistError
    from portraitist.collect.http import HttpClient
    from portraitist.collect.sources import SourceError
    from portraitist.collect.ssrf import MissingContactError
    from portraitist.core.files import LockedError

    try:
        with HttpClient(fetching, Blocklist.read(BLOCKLIST)) as web:
            main(name, params, web, dest)
    except (SourceError, BlocklistError, LockedError, MissingContactError) as error:
        sys.exit(f"collect {name}: {error}")


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]))
