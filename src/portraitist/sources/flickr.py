"""Openly licensed photos of Flickr, found by its API with safe search.

The environment variable FLICKR_API_KEY must contain your own API key.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import LicensedParams
from portraitist.sources import api_key, fetch_json, get_field, get_list, get_text, get_url
from portraitist.sources.helpers.licences import PAGES, check_licence
from portraitist.sources.helpers.saved_pages import candidates_from_saved, has_saved_responses

HOST = "api.flickr.com"
ADVICE = "set the environment variable FLICKR_API_KEY to a key from https://www.flickr.com/services/apps/create"
LICENCE_IDS = {"by": "4", "by-sa": "5", "cc0": "9", "pdm": "10"}  # from flickr.photos.licenses.getInfo
LICENCES = {number: name for name, number in LICENCE_IDS.items()}
QUERY = {
    "method": "flickr.photos.search",
    "format": "json",
    "nojsoncallback": "1",
    "media": "photos",
    "safe_search": "1",
    "sort": "relevance",
    "extras": "license,owner_name,url_l,url_c",
    "per_page": "100",
}


def candidates(params: LicensedParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every photo found, with sides of at most 1024 px.

    Photos whose licence is not in `params.licences` have status `no_licence`.

    Raises:
        SourceError: FLICKR_API_KEY is not set, or Flickr refuses the request.
    """
    if has_saved_responses(params, cache):
        yield from candidates_from_saved(params, HOST, rows)
        return
    secret = {"api_key": api_key("FLICKR_API_KEY", ADVICE)}
    licence_ids = ",".join(LICENCE_IDS[name] for name in params.licences)
    for query in params.queries:
        page, last_page = 1, 1
        while page <= last_page:
            parameters = QUERY | {"text": query, "license": licence_ids, "page": str(page)}
            url = f"https://{HOST}/services/rest/?{urlencode(parameters)}"
            content = fetch_json(cache, url, ADVICE, secret=secret)
            if get_text(content, "stat") != "ok":
                cache.discard(url)
                message = get_text(content, "message") or "no reason given"
                raise SourceError(f"{HOST} refused the request: {message}; {ADVICE}")
            yield from rows(content, params, query)
            pages = get_field(content, "photos", "pages")
            page, last_page = page + 1, pages if isinstance(pages, int) else 0


def rows(content: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """Yield the photos in one response of the API."""
    for row in get_list(content, "photos", "photo"):
        url = get_url(row, "url_l") or get_url(row, "url_c")
        licence = LICENCES.get(get_text(row, "license"), "")
        status, reason = check_licence(licence, params.licences)
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
