"""Painted portraits in the collection of the Metropolitan Museum of Art, found by its API. No account is needed.

The museum releases its pictures of public-domain works under CC0.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.core.outcome import Status
from portraitist.sources import fetch_json, get_field, get_list, get_text, get_url
from portraitist.sources.helpers.licences import PAGES
from portraitist.sources.helpers.saved_pages import candidates_from_saved, has_saved_responses

HOST = "collectionapi.metmuseum.org"
API = f"https://{HOST}/public/collection/v1"
ADVICE = "wait and run this again; the rules are at https://metmuseum.github.io"
PAINT_MEDIA = ("oil", "tempera", "watercolo", "gouache", "acrylic", "fresco", "pastel")


def candidates(params: SearchParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield the search results that are painted portraits; pictures that are not CC0 have status `no_licence`.

    Raises:
        SourceError: the museum's API refuses the request.
    """
    if has_saved_responses(params, cache):
        yield from candidates_from_saved(params, HOST, rows)
        return
    for query in params.queries:
        content = fetch_json(cache, f"{API}/search?{urlencode({'hasImages': 'true', 'q': query})}", ADVICE)
        for object_id in get_list(content, "objectIDs"):
            if isinstance(object_id, int):
                yield from rows(fetch_json(cache, f"{API}/objects/{object_id}", ADVICE), params, query)


def rows(content: Any, params: SearchParams, query: str) -> Iterator[Candidate]:
    """Yield the picture of one object of the collection, if the object is a painted portrait."""
    tags = {get_text(tag, "term").lower() for tag in get_list(content, "tags")}
    medium = get_text(content, "medium").lower()
    is_portrait = "portraits" in tags or "portrait" in get_text(content, "title").lower()
    if not is_portrait or not any(name in medium for name in PAINT_MEDIA):
        return
    small, full = get_url(content, "primaryImageSmall"), get_url(content, "primaryImage")
    is_open = get_field(content, "isPublicDomain") is True and bool(small or full)
    yield Candidate(
        params.kind,
        get_text(content, "title"),
        url=small or full,
        others=(full,) if small and full else (),
        page_url=get_url(content, "objectURL"),
        query=query,
        licence="CC0-1.0" if is_open else "",
        licence_url=PAGES["cc0"] if is_open else "",
        author=get_text(content, "artistDisplayName"),
        status=None if is_open else Status.NO_LICENCE,
        reason="" if is_open else "the museum does not release this picture under CC0",
    )
