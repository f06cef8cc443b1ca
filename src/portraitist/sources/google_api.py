"""Google image search by the Custom Search JSON API.

The environment variables GOOGLE_API_KEY and GOOGLE_CX must contain your own key and search engine id. The API accepts
no new customers and ends on 2027-01-01.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.sources import api_key, fetch_json, get_field, get_list, get_text, get_url
from portraitist.sources.helpers.saved_pages import candidates_from_saved, has_saved_responses

HOST = "www.googleapis.com"
ADVICE = (
    "see Google's console for the key (GOOGLE_API_KEY, GOOGLE_CX) and the quota; the API accepts no new customers and "
    "ends on 2027-01-01"
)
PAGE_SIZE = 10
LAST_START = 91  # the API returns at most 100 results for a query


def candidates(params: SearchParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every search result. The first URL of a result is the original picture, the second is Google's thumbnail.

    Raises:
        SourceError: GOOGLE_API_KEY or GOOGLE_CX is not set, or the API refuses the request.
    """
    if has_saved_responses(params, cache):
        yield from candidates_from_saved(params, HOST, rows)
        return
    secret = {"key": api_key("GOOGLE_API_KEY", ADVICE), "cx": api_key("GOOGLE_CX", ADVICE)}
    for query in params.queries:
        for start in range(1, LAST_START + 1, PAGE_SIZE):
            parameters = {"q": query, "searchType": "image", "num": PAGE_SIZE, "start": start, "safe": "active"}
            url = f"https://{HOST}/customsearch/v1?{urlencode(parameters)}"
            content = fetch_json(cache, url, ADVICE, secret=secret)
            yield from rows(content, params, query)
            if not get_field(content, "queries", "nextPage"):
                break


def rows(content: Any, params: SearchParams, query: str) -> Iterator[Candidate]:
    """Yield the results in one response of the API."""
    for row in get_list(content, "items"):
        thumbnail = get_url(row, "image", "thumbnailLink")
        if get_url(row, "link"):
            yield Candidate(
                params.kind,
                get_text(row, "title"),
                url=get_url(row, "link"),
                others=(thumbnail,) if thumbnail else (),
                page_url=get_url(row, "image", "contextLink"),
                query=query,
            )
