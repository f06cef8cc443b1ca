"""The Metropolitan Museum's collection, by its interface: no account; what is in the public domain is CC0."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate, get_field, get_list, get_text, get_url, request_json
from portraitist.collect.sources._licences import PAGES
from portraitist.collect.sources._saved_pages import from_saved, has_saved
from portraitist.core.outcome import Status

HOST = "collectionapi.metmuseum.org"
API = f"https://{HOST}/public/collection/v1"
DO = "see https://metmuseum.github.io, wait, and run this again"
PAINTED = ("oil", "tempera", "watercolo", "gouache", "acrylic", "fresco", "pastel")


def candidates(params: SearchParams, ask: FetchCache) -> Iterator[Candidate]:
    """Painted portraits among what is found (its search is loose); one that is not CC0 is a row that says so.

    Raises:
        SourceError: The museum's interface refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    for query in params.queries:
        found = request_json(ask, f"{API}/search?{urlencode({'hasImages': 'true', 'q': query})}", DO)
        for number in get_list(found, "objectIDs"):
            if isinstance(number, int):
                yield from rows(request_json(ask, f"{API}/objects/{number}", DO), params, query)


def rows(about: Any, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The picture of one object, if it is a painted portrait."""
    told = {get_text(tag, "term").lower() for tag in get_list(about, "tags")}
    medium = get_text(about, "medium").lower()
    portrait = "portraits" in told or "portrait" in get_text(about, "title").lower()
    small, whole = get_url(about, "primaryImageSmall"), get_url(about, "primaryImage")
    if not portrait or not any(name in medium for name in PAINTED):
        return
    free = get_field(about, "isPublicDomain") is True and bool(small or whole)
    yield Candidate(
        params.kind,
        get_text(about, "title"),
        url=small or whole,
        others=(whole,) if small and whole else (),
        page_url=get_url(about, "objectURL"),
        query=query,
        licence="CC0-1.0" if free else "",
        licence_url=PAGES["cc0"] if free else "",
        author=get_text(about, "artistDisplayName"),
        status=None if free else Status.NO_LICENCE,
        reason="" if free else "the museum does not give its picture away",
    )
