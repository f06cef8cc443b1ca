"""Code that the image search engines share.

The URLs of result pages are built by feeders of the library icrawler. icrawler's downloader and threads are not used:
they lose URLs when a queue is full, and stop without an error when a page is a captcha.
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
from portraitist.sources.helpers.saved_pages import has_saved_responses, saved_responses

MAX_RESULTS = 1000  # per query; search engines repeat results after that
BLOCK_PAGES = {  # what a search engine sent instead of results, by a part of the URL of the redirect
    "wappass": "a captcha",
    "/sorry": "a captcha",
    "consent.": "a consent page",
    "/consent": "a consent page",
}

ListPages = Callable[[str], list[str]]
Parse = Callable[[str, SearchParams, str], Iterable[Candidate]]


class BlockedError(ValueError):
    """A response does not contain results, because the site refused the request; the message says what was found."""


def result_pages(feeder_class: type[Feeder], query: str) -> list[str]:
    """Build the URLs of a query's result pages with a feeder of the library icrawler."""
    feeder = feeder_class(1, Signal(), None)
    feeder.out_queue = CachedQueue(0)  # without a limit, so that the feeder does not lose URLs
    feeder.feed(keyword=query, offset=0, max_num=MAX_RESULTS)
    return [feeder.out_queue.get() for _ in range(feeder.out_queue.qsize())]


def search(
    params: SearchParams, cache: FetchCache, host: str, seconds_per_page: float, list_pages: ListPages, parse: Parse
) -> Iterator[Candidate]:
    """Yield the candidates on the pages that the user saved. Without saved pages, search the web, query by query.

    Args:
        params: the queries, and the folder of saved pages.
        cache: downloads the result pages.
        host: host name of the search engine.
        seconds_per_page: minimum interval between two requests, in seconds.
        list_pages: function that takes a query and returns the URLs of the query's result pages.
        parse: function (text, params, query) that yields the candidates on a page; raises `BlockedError`.

    Raises:
        SourceError: the search engine refused a request, the format of a page is unknown, or the folder does not exist.
    """
    advice = f"open the results in your browser and save the pages (or a HAR) in {params.path}, then run this again"
    known_urls: set[str] = set()
    saved = saved_responses(params.path, host) if has_saved_responses(params, cache) else []
    for page in saved:
        candidates = _parse_or_fail(parse, page.text, params, "", str(page.file), advice)
        yield from _new_candidates(candidates, known_urls)
    if saved:
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
                break  # there are no further results, or the engine repeats earlier ones
            yield from new


def _parse_or_fail(
    parse: Parse, text: str, params: SearchParams, query: str, origin: str, advice: str
) -> list[Candidate]:
    try:
        return list(parse(text, params, query))
    except BlockedError as error:
        raise SourceError(f"no search results from {origin}: {error}; {advice}") from None


def _new_candidates(candidates: Iterable[Candidate], known_urls: set[str]) -> Iterator[Candidate]:
    for candidate in candidates:
        if candidate.url not in known_urls:
            known_urls.add(candidate.url)
            yield candidate


def quote_query(query: str) -> str:
    """Percent-encode a query, because icrawler inserts queries into URLs without encoding them."""
    return quote(query, safe="")
