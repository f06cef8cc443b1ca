"""Google's Custom Search JSON API, for those who have a key. It is closed to newcomers and ends on 2027-01-01."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.params import SearchParams
from portraitist.sources import Candidate, asked_json, field, items, key_of, link, words
from portraitist.sources._saved import from_saved, has_saved
from portraitist.spool import Spool

HOST = "www.googleapis.com"
DO = "see the quota and the key in Google's console; the interface is closed to newcomers and ends on 2027-01-01"
STEP = 10
LAST = 91  # the interface gives 100 results of a query


def candidates(params: SearchParams, ask: Spool) -> Iterator[Candidate]:
    """Every result's own address, then Google's thumbnail.

    Raises:
        SourceError: GOOGLE_API_KEY or GOOGLE_CX is not set, or the interface refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    secret = {"key": key_of("GOOGLE_API_KEY", DO), "cx": key_of("GOOGLE_CX", DO)}
    for query in params.queries:
        for start in range(1, LAST + 1, STEP):
            asks = {"q": query, "searchType": "image", "num": STEP, "start": start, "safe": "active"}
            answer = asked_json(ask, f"https://{HOST}/customsearch/v1?{urlencode(asks)}", DO, secret=secret)
            yield from rows(answer, params, query)
            if not field(answer, "queries", "nextPage"):
                break


def rows(answer: Any, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The results in one answer."""
    for row in items(answer, "items"):
        copy = link(row, "image", "thumbnailLink")
        if link(row, "link"):
            yield Candidate(
                params.kind,
                words(row, "title"),
                url=link(row, "link"),
                others=(copy,) if copy else (),
                page_url=link(row, "image", "contextLink"),
                query=query,
            )
