"""Stage collect: find and download the pictures of one source; write their bytes and one manifest row per candidate."""

import sys
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit, path_options
from portraitist.collect.blocklist import Blocklist, BlocklistError
from portraitist.collect.candidate import SourceError
from portraitist.collect.collector import collect_source
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import HttpClient
from portraitist.collect.output import write_output
from portraitist.collect.params import SOURCES, CollectParams, FetchParams
from portraitist.collect.response_store import store_folder
from portraitist.collect.ssrf import MissingContactError
from portraitist.sources import load_source

BLOCKLIST = Path("data/blocklist.txt")


def main(name: str, params: CollectParams, web: HttpClient, dest: Path) -> None:
    """Write the output of one source; web responses are cached in .fetch-cache."""
    with FetchCache(web, store_folder(), name) as cache:
        collected = collect_source(name, load_source(name), params, cache, web.blocklist)
        write_output(iter(tqdm(collected, f"collect {name}", disable=None)), dest, params.shard_size)
        if cache.num_stored:
            print(f"collect {name}: {cache.num_stored} responses were read from .fetch-cache", file=sys.stderr)


def run(name: str, dest: Path) -> None:
    """Collect one source with the parameters in params.yaml; exit with one line if it fails."""
    fetch, params = load_or_exit(FetchParams, "fetch"), load_or_exit(SOURCES[name], f"collect.{name}")
    try:
        with HttpClient(fetch, Blocklist.read(BLOCKLIST)) as web:
            main(name, params, web, dest)
    except (SourceError, BlocklistError, MissingContactError) as error:
        sys.exit(f"collect {name}: {error}")
    except OSError as error:  # such as a full disk
        sys.exit(f"collect {name}: {error.strerror or error}: {error.filename or dest}")


if __name__ == "__main__":
    source, out = path_options("source", "out")
    run(source.name, out)
