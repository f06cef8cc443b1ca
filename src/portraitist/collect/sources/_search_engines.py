"""Search engines: icrawler's feeders say where their result pages are; the parsers are our own.

icrawler's downloader and threads are not used: they lose addresses when a queue is full, and end without an error when
a page is a captcha.
"""

from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, urlsplit

from icrawler import Feeder
from icrawler.utils import Signal
from icrawler.utils.cached_queue import CachedQueue

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate, SourceError, request
from portraitist.collect.sources._saved_pages import texts_from

MOST = 1000  # results that an engine gives before it repeats itself
WALLS = {"wappass": "a captcha", "/sorry": "a captcha", "consent.": "a consent page", "/consent": "a consent page"}

PagesOf = Callable[[str], list[str]]
Parse = Callable[[str, SearchParams, str], Iterable[Candidate]]


class BlockedError(ValueError):
    """A page that is a refusal, though it may look like an answer; the message says what was seen."""


def pages(feeder_class: type[Feeder], query: str) -> list[str]:
    """The addresses of a query's result pages, by an icrawler feeder with a queue that drops none."""
    feeder = feeder_class(1, Signal(), None)
    feeder.out_queue = CachedQueue(0)
    feeder.feed(keyword=query, offset=0, max_num=MOST)
    return [feeder.out_queue.get() for _ in range(feeder.out_queue.qsize())]


def found(
    params: SearchParams, ask: FetchCache, host: str, seconds: float, pages_of: PagesOf, parse: Parse
) -> Iterator[Candidate]:
    """What the pages that the user saved hold; without any, what the engine's own pages hold, query after query.

    Raises:
        SourceError: A page is a refusal, or is not recognised.
    """
    do = f"open the results in your browser and save the pages (or a HAR) into {params.path}, then run this again"
    seen: set[str] = set()
    texts = texts_from(params.path, host)
    for text in texts:
        yield from _new(_parsed(parse, text, params, "", f"a page in {params.path}", do), seen)
    if texts:
        return
    ask.pace(host, seconds)
    for query in params.queries:
        for url in pages_of(query):
            answer = request(ask, url, do, crawled=True)
            where = urlsplit(answer.url)
            wall = next((told for sign, told in WALLS.items() if sign in f"{where.netloc}{where.path}"), "")
            try:
                if wall:
                    raise SourceError(f"{host} answered with {wall} ({where.netloc}{where.path}); {do}")
                fresh = list(_new(_parsed(parse, answer.text, params, query, host, do), seen))
            except SourceError:
                ask.forget(url)
                raise
            if not fresh:
                break  # the engine has no more, or repeats itself
            yield from fresh


def _parsed(parse: Parse, text: str, params: SearchParams, query: str, name: str, do: str) -> list[Candidate]:
    try:
        return list(parse(text, params, query))
    except BlockedError as error:
        raise SourceError(f"{name} refused: {error}; {do}") from None


def _new(candidates: Iterable[Candidate], seen: set[str]) -> Iterator[Candidate]:
    for one in candidates:
        if one.url not in seen:
            seen.add(one.url)
            yield one


def word(query: str) -> str:
    """A query as part of an address; icrawler puts it in as it is, and an & in it would be another parameter."""
    return quote(query, safe="")
