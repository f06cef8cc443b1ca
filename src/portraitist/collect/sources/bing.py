"""Bing image search: its pages' tiles, asked politely or saved by the user."""

from collections.abc import Iterator
from json import JSONDecodeError, loads

from bs4 import BeautifulSoup
from icrawler.builtin.bing import BingFeeder

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate, get_text, get_url
from portraitist.collect.sources._search_engines import BlockedError, found, pages, word

HOST = "www.bing.com"
SECONDS = 3.0


def candidates(params: SearchParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every tile's picture, then Bing's thumbnail of it.

    Raises:
        SourceError: Bing refuses.
    """
    yield from found(params, ask, HOST, SECONDS, lambda query: pages(BingFeeder, word(query)), parse)


def parse(text: str, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The results in one page.

    Raises:
        BlockedError: It is none.
    """
    page = BeautifulSoup(text, "lxml")
    tiles = page.select("a.iusc[m]")
    if not tiles and not page.select("ul.dgControl_list, #mmComponent_images_1, .noresults"):
        raise BlockedError(
            f"no result is recognised in its page {page.title.get_text(strip=True) if page.title else ''!r}"
        )
    for tile in tiles:
        try:
            about = loads(str(tile["m"]))
        except (JSONDecodeError, RecursionError):
            continue
        url, copy = get_url(about, "murl"), get_url(about, "turl")
        if url:
            others = (copy,) if copy else ()
            page_url = get_url(about, "purl")
            yield Candidate(params.kind, get_text(about, "t"), url=url, others=others, page_url=page_url, query=query)
