"""The Metropolitan Museum's collection, by its interface: no account; what is in the public domain is CC0."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.params import SearchParams
from portraitist.sources import Candidate, asked_json, field, items, link, words
from portraitist.sources._licences import PAGES
from portraitist.sources._saved import from_saved, has_saved
from portraitist.spool import Spool
from portraitist.verdict import Verdict

HOST = "collectionapi.metmuseum.org"
API = f"https://{HOST}/public/collection/v1"
DO = "see https://metmuseum.github.io, wait, and run this again"
PAINTED = ("oil", "tempera", "watercolo", "gouache", "acrylic", "fresco", "pastel")


def candidates(params: SearchParams, ask: Spool) -> Iterator[Candidate]:
    """Painted portraits among what is found (its search is loose); one that is not CC0 is a row that says so.

    Raises:
        SourceError: The museum's interface refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    for query in params.queries:
        found = asked_json(ask, f"{API}/search?{urlencode({'hasImages': 'true', 'q': query})}", DO)
        for number in items(found, "objectIDs"):
            if isinstance(number, int):
                yield from rows(asked_json(ask, f"{API}/objects/{number}", DO), params, query)


def rows(about: Any, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The picture of one object, if it is a painted portrait."""
    told = {words(tag, "term").lower() for tag in items(about, "tags")}
    medium = words(about, "medium").lower()
    portrait = "portraits" in told or "portrait" in words(about, "title").lower()
    small, whole = link(about, "primaryImageSmall"), link(about, "primaryImage")
    if not portrait or not any(name in medium for name in PAINTED):
        return
    free = field(about, "isPublicDomain") is True and bool(small or whole)
    yield Candidate(
        params.kind,
        words(about, "title"),
        url=small or whole,
        others=(whole,) if small and whole else (),
        page_url=link(about, "objectURL"),
        query=query,
        licence="CC0-1.0" if free else "",
        licence_url=PAGES["cc0"] if free else "",
        author=words(about, "artistDisplayName"),
        verdict=None if free else Verdict.NO_LICENCE,
        reason="" if free else "the museum does not give its picture away",
    )
