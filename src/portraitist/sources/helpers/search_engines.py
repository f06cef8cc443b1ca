"""Image search engines: icrawler's feeders build the URLs of the result pages; the parsers are this project's.

icrawler's downloader and threads are not used: they lose URLs when a queue is full, and stop without an error when a
page is a captcha.
"""

from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, urlsplit

from icrawler import Feeder
from icrawler.utils import Signal
from icrawler.utils.cached_queue import CachedQueue

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.sources import fetch_page
from portraitist.sources.helpers.saved_pages import has_saved_responses, saved_texts

MAX_RESULTS = 1000  # after this many, search engines repeat results
BLOCK_PAGES = {  # by part of the URL to which a search engine redirects programs
    "wappass": "a captcha",
    "/sorry": "a captcha",
    "consent.": "a consent page",
    "/consent": "a consent page",
}

ListPages = Callable[[str], list[str]]
Parse = Callable[[str, SearchParams, str], Iterable[Candidate]]


class BlockedError(ValueError):
    """A response is a refusal, possibly in the form of a result page; the message states what was found."""


def result_pages(feeder_class: type[Feeder], query: str) -> list[str]:
    """Return the URLs of a query's result pages, from an icrawler feeder with an unbounded queue."""
    feeder = feeder_class(1, Signal(), None)
    feeder.out_queue = CachedQueue(0)
    feeder.feed(keyword=query, offset=0, max_num=MAX_RESULTS)
    return [feeder.out_queue.get() for _ in range(feeder.out_queue.qsize())]


def search(
    params: SearchParams, cache: FetchCache, host: str, seconds_per_page: float, list_pages: ListPages, parse: Parse
) -> Iterator[Candidate]:
    """Yield the candidates in the saved pages; if there are none, those in the engine's pages, query by query.

    Args:
        params: the queries, and the folder of saved pages.
        cache: fetches the engine's pages.
        host: the engine's host name.
        seconds_per_page: minimum interval between two requests.
        list_pages: returns the URLs of a query's result pages.
        parse: extracts the candidates from a page; raises `BlockedError`.

    Raises:
        SourceError: a page is a refusal, its format is unknown, or the folder does not exist.
    """
    advice = f"open the results in your browser and save the pages (or a HAR) in {params.path}, then run this again"
    known_urls: set[str] = set()
    texts = saved_texts(params.path, host) if has_saved_responses(params, cache) else []
    for text in texts:
        candidates = _parse_or_fail(parse, text, params, "", f"a page in {params.path}", advice)
        yield from _new_candidates(candidates, known_urls)
    if texts:
        return
    cache.limit_rate(host, seconds_per_page)
    for query in params.queries:
        for url in list_pages(query):
            response = fetch_page(cache, url, advice, crawled=True)
            final = urlsplit(response.url)
            block_page = next((page for part, page in BLOCK_PAGES.items() if part in f"{final.netloc}{final.path}"), "")
            try:
                if block_page:
                    raise SourceError(f"{host} responded with {block_page} ({final.netloc}{final.path}); {advice}")
                candidates = _parse_or_fail(parse, response.text, params, query, host, advice)
            except SourceError:
                cache.discard(url)
                raise
            new = list(_new_candidates(candidates, known_urls))
            if not new:
                break  # no more results, or only repeated ones
            yield from new


def _parse_or_fail(
    parse: Parse, text: str, params: SearchParams, query: str, origin: str, advice: str
) -> list[Candidate]:
    try:
        return list(parse(text, params, query))
    except BlockedError as error:
        raise SourceError(f"{origin} refused: {error}; {advice}") from None


def _new_candidates(candidates: Iterable[Candidate], known_urls: set[str]) -> Iterator[Candidate]:
    for candidate in candidates:
        if candidate.url not in known_urls:
            known_urls.add(candidate.url)
            yield candidate


def quote_query(query: str) -> str:
    """Percent-encode a query. icrawler inserts it unquoted, so that an & would begin another parameter."""
    return quote(query, safe="")
