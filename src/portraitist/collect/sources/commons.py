"""Wikimedia Commons, by its interface: no account, every file with its licence; it wants to know who asks."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import LicensedParams
from portraitist.collect.sources import Candidate, SourceError, get_field, get_list, get_text, get_url, request_json
from portraitist.collect.sources._licences import refused
from portraitist.collect.sources._saved_pages import from_saved, has_saved

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


def candidates(params: LicensedParams, ask: FetchCache) -> Iterator[Candidate]:
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
            answer = request_json(ask, url, DO)
            if get_field(answer, "error"):
                ask.forget(url)
                told = f"{get_text(answer, 'error', 'code')}, {get_text(answer, 'error', 'info')}"
                raise SourceError(f"{HOST} refused: {told}; {DO}")
            yield from rows(answer, params, query)
            after = get_field(answer, "continue")
            go_on = {name: str(value) for name, value in after.items()} if isinstance(after, dict) else None


def rows(answer: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """The files in one answer, as they were found."""
    for page in sorted(get_list(answer, "query", "pages"), key=_rank):
        about = get_field(page, "imageinfo", 0)
        licence = get_text(about, "extmetadata", "LicenseShortName", "value")
        width = get_field(about, "width")
        scaled = get_url(about, "thumburl") if isinstance(width, int) and width > WIDTH_PX else ""
        if get_url(about, "url"):
            status, reason = refused(get_text(about, "extmetadata", "License", "value") or licence, params.licences)
            yield Candidate(
                params.kind,
                get_text(page, "title"),
                url=scaled or get_url(about, "url"),
                page_url=get_url(about, "descriptionurl"),
                query=query,
                licence=licence,
                licence_url=get_url(about, "extmetadata", "LicenseUrl", "value"),
                author=get_text(about, "extmetadata", "Artist", "value"),
                status=status,
                reason=reason,
            )


def _rank(page: Any) -> int:
    rank = get_field(page, "index")
    return rank if isinstance(rank, int) else 0
