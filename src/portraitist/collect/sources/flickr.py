"""Flickr, by its interface and a key of yours (FLICKR_API_KEY): openly licensed photos, safe search on."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import LicensedParams
from portraitist.collect.sources import (
    Candidate,
    SourceError,
    api_key,
    get_field,
    get_list,
    get_text,
    get_url,
    request_json,
)
from portraitist.collect.sources._licences import PAGES, refused
from portraitist.collect.sources._saved_pages import from_saved, has_saved

HOST = "api.flickr.com"
DO = "set FLICKR_API_KEY in the environment to a key from https://www.flickr.com/services/apps/create"
NUMBERS = {"by": "4", "by-sa": "5", "cc0": "9", "pdm": "10"}  # as flickr.photos.licenses.getInfo tells them
NAMES = {number: name for name, number in NUMBERS.items()}
ASKS = {
    "method": "flickr.photos.search",
    "format": "json",
    "nojsoncallback": "1",
    "media": "photos",
    "safe_search": "1",
    "sort": "relevance",
    "extras": "license,owner_name,url_l,url_c",
    "per_page": "100",
}


def candidates(params: LicensedParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every photo that is found, at a side of at most 1024 px. One under another licence is a row that says so.

    Raises:
        SourceError: FLICKR_API_KEY is not set, or Flickr refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    secret = {"api_key": api_key("FLICKR_API_KEY", DO)}
    numbers = ",".join(NUMBERS[name] for name in params.licences)
    for query in params.queries:
        number, last = 1, 1
        while number <= last:
            url = (
                f"https://{HOST}/services/rest/?{urlencode(ASKS | {'text': query, 'license': numbers, 'page': number})}"
            )
            answer = request_json(ask, url, DO, secret=secret)
            if get_text(answer, "stat") != "ok":
                ask.forget(url)
                raise SourceError(f"{HOST} refused: {get_text(answer, 'message') or 'no reason given'}; {DO}")
            yield from rows(answer, params, query)
            told = get_field(answer, "photos", "pages")
            number, last = number + 1, told if isinstance(told, int) else 0


def rows(answer: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """The photos in one answer."""
    for row in get_list(answer, "photos", "photo"):
        url = get_url(row, "url_l") or get_url(row, "url_c")
        licence = NAMES.get(get_text(row, "license"), "")
        status, reason = refused(licence, params.licences)
        owner = get_text(row, "owner")
        if url:
            yield Candidate(
                params.kind,
                get_text(row, "title"),
                url=url,
                page_url=f"https://www.flickr.com/photos/{owner}/{get_text(row, 'id')}",
                query=query,
                licence=licence,
                licence_url=PAGES.get(licence, ""),
                author=get_text(row, "ownername"),
                group=f"flickr/{owner}" if owner else "",
                status=status,
                reason=reason,
            )
