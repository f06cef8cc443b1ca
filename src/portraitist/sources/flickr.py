"""Flickr, by its interface and a key of yours (FLICKR_API_KEY): openly licensed photos, safe search on."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.params import LicensedParams
from portraitist.sources import Candidate, SourceError, asked_json, field, items, key_of, link, words
from portraitist.sources._licences import PAGES, refused
from portraitist.sources._saved import from_saved, has_saved
from portraitist.spool import Spool

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


def candidates(params: LicensedParams, ask: Spool) -> Iterator[Candidate]:
    """Every photo that is found, at a side of at most 1024 px. One under another licence is a row that says so.

    Raises:
        SourceError: FLICKR_API_KEY is not set, or Flickr refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    secret = {"api_key": key_of("FLICKR_API_KEY", DO)}
    numbers = ",".join(NUMBERS[name] for name in params.licences)
    for query in params.queries:
        number, last = 1, 1
        while number <= last:
            url = (
                f"https://{HOST}/services/rest/?{urlencode(ASKS | {'text': query, 'license': numbers, 'page': number})}"
            )
            answer = asked_json(ask, url, DO, secret=secret)
            if words(answer, "stat") != "ok":
                ask.forget(url)
                raise SourceError(f"{HOST} refused: {words(answer, 'message') or 'no reason given'}; {DO}")
            yield from rows(answer, params, query)
            told = field(answer, "photos", "pages")
            number, last = number + 1, told if isinstance(told, int) else 0


def rows(answer: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """The photos in one answer."""
    for row in items(answer, "photos", "photo"):
        url = link(row, "url_l") or link(row, "url_c")
        licence = NAMES.get(words(row, "license"), "")
        verdict, reason = refused(licence, params.licences)
        owner = words(row, "owner")
        if url:
            yield Candidate(
                params.kind,
                words(row, "title"),
                url=url,
                page_url=f"https://www.flickr.com/photos/{owner}/{words(row, 'id')}",
                query=query,
                licence=licence,
                licence_url=PAGES.get(licence, ""),
                author=words(row, "ownername"),
                group=f"flickr/{owner}" if owner else "",
                verdict=verdict,
                reason=reason,
            )
