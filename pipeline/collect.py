"""Stage collect: download or read the pictures of one source, and write a manifest with a row for each picture."""

import sys
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit, path_options
from portraitist.collect.blocklist import Blocklist
from portraitist.collect.collector import collect_source
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import HttpClient
from portraitist.collect.output import write_output
from portraitist.collect.params import SOURCES, CollectParams, FetchParams
from portraitist.collect.response_store import store_folder
from portraitist.sources import load_source

BLOCKLIST = Path("data/blocklist.txt")


def collect(name: str, params: CollectParams, web: HttpClient, dest: Path) -> None:
    """Collect the pictures of one source, and write them to the folder `dest`.

    Web responses are stored in the folder .fetch-cache. Later runs read them from this folder.
    """
    with FetchCache(web, store_folder(), name) as cache:
        collected = collect_source(name, load_source(name), params, cache, web.blocklist)
        write_output(iter(tqdm(collected, f"collect {name}", disable=None)), dest, params.shard_size)
        if cache.num_stored:
            print(f"collect {name}: {cache.num_stored} responses were read from .fetch-cache", file=sys.stderr)


def main() -> None:
    """Collect one source with the parameters in params.yaml."""
    source, dest = path_options("source", "out")
    fetch, params = load_or_exit(FetchParams, "fetch"), load_or_exit(SOURCES[source.name], f"collect.{source.name}")
    with HttpClient(fetch, Blocklist.read(BLOCKLIST)) as web:
        collect(source.name, params, web, dest)


if __name__ == "__main__":
    main()
