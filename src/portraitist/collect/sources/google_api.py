"""Google's Custom Search JSON API, for those who have a key. It is closed to newcomers and ends on 2027-01-01."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate, api_key, get_field, get_list, get_text, get_url, request_json
from portraitist.collect.sources._saved_pages import from_saved, has_saved

HOST = "www.googleapis.com"
DO = "see the quota and the key in Google's console; the interface is closed to newcomers and ends on 2027-01-01"
STEP = 10
LAST = 91  # the interface gives 100 results of a query


def candidates(params: SearchParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every result's own address, then Google's thumbnail.

    Raises:
        SourceError: GOOGLE_API_KEY or GOOGLE_CX is not set, or the interface refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    secret = {"key": api_key("GOOGLE_API_KEY", DO), "cx": api_key("GOOGLE_CX", DO)}
    for query in params.queries:
        for start in range(1, LAST + 1, STEP):
            asks = {"q": query, "searchType": "image", "num": STEP, "start": start, "safe": "active"}
            answer = request_json(ask, f"https://{HOST}/customsearch/v1?{urlencode(asks)}", DO, secret=secret)
            yield from rows(answer, params, query)
            if not get_field(answer, "queries", "nextPage"):
                break


def rows(answer: Any, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The results in one answer."""
    for row in get_list(answer, "items"):
        copy = get_url(row, "image", "thumbnailLink")
        if get_url(row, "link"):
            yield Candidate(
                params.kind,
                get_text(row, "title"),
                url=get_url(row, "link"),
                others=(copy,) if copy else (),
                page_url=get_url(row, "image", "contextLink"),
                query=query,
            )
