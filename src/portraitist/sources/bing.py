"""Bing image search: HTML result pages, which are downloaded or read from files that the user saved."""

from collections.abc import Iterator
from json import JSONDecodeError, loads

from bs4 import BeautifulSoup
from icrawler.builtin.bing import BingFeeder

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.sources import get_text, get_url
from portraitist.sources.helpers.search_engines import BlockedError, quote_query, result_pages, search

HOST = "www.bing.com"
SECONDS_PER_PAGE = 3.0


def candidates(params: SearchParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every search result. The first URL of a result is the original picture, the second is Bing's thumbnail.

    Raises:
        SourceError: Bing refuses the request.
    """
    yield from search(
        params, cache, HOST, SECONDS_PER_PAGE, lambda query: result_pages(BingFeeder, quote_query(query)), parse
    )


def parse(text: str, params: SearchParams, query: str) -> Iterator[Candidate]:
    """Yield the results on one page.

    Raises:
        BlockedError: the text is not a result page.
    """
    page = BeautifulSoup(text, "lxml")
    tiles = page.select("a.iusc[m]")
    if not tiles and not page.select("ul.dgControl_list, #mmComponent_images_1, .noresults"):
        title = page.title.get_text(strip=True) if page.title else ""
        raise BlockedError(f"no result found in the page titled {title!r}")
    for tile in tiles:
        try:
            metadata = loads(str(tile["m"]))
        except (JSONDecodeError, RecursionError):
            continue
        url, thumbnail = get_url(metadata, "murl"), get_url(metadata, "turl")
        if url:
            yield Candidate(
                params.kind,
                get_text(metadata, "t"),
                url=url,
                others=(thumbnail,) if thumbnail else (),
                page_url=get_url(metadata, "purl"),
                query=query,
            )
