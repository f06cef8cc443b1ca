"""Wikimedia Commons, by its interface: no account, every file with its licence; it wants to know who asks."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.params import LicensedParams
from portraitist.sources import Candidate, SourceError, asked_json, field, items, link, words
from portraitist.sources._licences import refused
from portraitist.sources._saved import from_saved, has_saved
from portraitist.spool import Spool

HOST = "commons.wikimedia.org"
DO = "see https://www.mediawiki.org/wiki/API:Etiquette, wait, and run this again"
WIDTH_PX = 960  # one of the few widths that the servers have ready; others are refused
ASKS = {
    "action": "query",
    "format": "json",
    "formatversion": "2",
    "maxlag": "5",
    "generator": "search",
    "gsrnamespace": "6",
    "gsrlimit": "50",
    "prop": "imageinfo",
    "iiprop": "url|size|mime|extmetadata",
    "iiurlwidth": str(WIDTH_PX),
}


def candidates(params: LicensedParams, ask: Spool) -> Iterator[Candidate]:
    """Every bitmap that is found, at a width of at most 960 px. One under another licence is a row that says so.

    Raises:
        SourceError: Commons refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    ask.pace("upload.wikimedia.org", 1.0)
    for query in params.queries:
        go_on: dict[str, str] | None = {}
        while go_on is not None:
            asks = ASKS | {"gsrsearch": f"filetype:bitmap {query}"} | go_on
            url = f"https://{HOST}/w/api.php?{urlencode(asks)}"
            answer = asked_json(ask, url, DO)
            if field(answer, "error"):
                ask.forget(url)
                told = f"{words(answer, 'error', 'code')}, {words(answer, 'error', 'info')}"
                raise SourceError(f"{HOST} refused: {told}; {DO}")
            yield from rows(answer, params, query)
            after = field(answer, "continue")
            go_on = {name: str(value) for name, value in after.items()} if isinstance(after, dict) else None


def rows(answer: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """The files in one answer, as they were found."""
    for page in sorted(items(answer, "query", "pages"), key=_rank):
        about = field(page, "imageinfo", 0)
        licence = words(about, "extmetadata", "LicenseShortName", "value")
        width = field(about, "width")
        scaled = link(about, "thumburl") if isinstance(width, int) and width > WIDTH_PX else ""
        if link(about, "url"):
            verdict, reason = refused(words(about, "extmetadata", "License", "value") or licence, params.licences)
            yield Candidate(
                params.kind,
                words(page, "title"),
                url=scaled or link(about, "url"),
                page_url=link(about, "descriptionurl"),
                query=query,
                licence=licence,
                licence_url=link(about, "extmetadata", "LicenseUrl", "value"),
                author=words(about, "extmetadata", "Artist", "value"),
                verdict=verdict,
                reason=reason,
            )


def _rank(page: Any) -> int:
    rank = field(page, "index")
    return rank if isinstance(rank, int) else 0
