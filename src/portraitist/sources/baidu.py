"""Baidu image search: JSON result pages, which are downloaded or read from files that the user saved.

Baidu often refuses requests that do not come from a browser.
"""

from collections.abc import Iterator

from icrawler.builtin.baidu import BaiduFeeder, BaiduParser

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.sources import get_field, get_list, get_text, get_url, parse_json
from portraitist.sources.helpers.search_engines import BlockedError, quote_query, result_pages, search

HOST = "image.baidu.com"
SECONDS_PER_PAGE = 3.0


def candidates(params: SearchParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every search result. The first URL of a result is the original picture; the others are Baidu's copies.

    Raises:
        SourceError: Baidu refuses the request.
    """
    yield from search(
        params, cache, HOST, SECONDS_PER_PAGE, lambda query: result_pages(BaiduFeeder, quote_query(query)), parse
    )


def parse(text: str, params: SearchParams, query: str) -> Iterator[Candidate]:
    """Yield the results in one response of Baidu's acjson API.

    Raises:
        BlockedError: the response contains no results.
    """
    try:
        content = parse_json(text)
    except ValueError:
        raise BlockedError(f"received an HTML page instead of results: {text.strip()[:60]!r}") from None
    if get_field(content, "antiFlag") or not isinstance(get_field(content, "data"), list):
        raise BlockedError(get_text(content, "message") or "received a response that has no list of results")
    for row in get_list(content, "data"):
        object_url = get_url(row, "objURL")
        original = object_url if object_url.startswith("http") else _decode_url(object_url)
        copies = [get_url(row, name) for name in ("hoverURL", "middleURL", "thumbURL")]
        urls = [*dict.fromkeys(filter(None, (get_url(row, "replaceUrl", 0, "ObjURL"), original, *copies)))]
        if urls:
            yield Candidate(
                params.kind,
                get_text(row, "fromPageTitleEnc") or get_text(row, "fromPageTitle"),
                url=urls[0],
                others=tuple(urls[1:]),
                page_url=get_url(row, "replaceUrl", 0, "FromURL"),
                query=query or get_text(content, "queryExt"),
            )


def _decode_url(encoded: str) -> str:
    """Decode a URL that Baidu has encoded with its substitution cipher."""
    return str(BaiduParser._decode_url(None, encoded)) if encoded else ""
