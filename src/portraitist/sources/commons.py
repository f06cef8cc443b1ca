"""Pictures of Wikimedia Commons, found by its API. No account is needed. Every file has a licence."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import LicensedParams
from portraitist.sources import fetch_json, get_field, get_list, get_text, get_url
from portraitist.sources.helpers.licences import check_licence
from portraitist.sources.helpers.saved_pages import candidates_from_saved, has_saved_responses

HOST = "commons.wikimedia.org"
ADVICE = "wait and run this again; the rules are at https://www.mediawiki.org/wiki/API:Etiquette"
SECONDS_PER_PICTURE = 1.0
WIDTH_PX = 960  # one of the few widths that the servers have pre-rendered; other widths are refused
QUERY = {
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


def candidates(params: LicensedParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every picture found; pictures whose licence is not in `params.licences` have status `no_licence`.

    If a picture is wider than 960 px, a copy with a width of 960 px is downloaded instead.

    Raises:
        SourceError: Commons refuses the request.
    """
    if has_saved_responses(params, cache):
        yield from candidates_from_saved(params, HOST, rows)
        return
    cache.limit_rate("upload.wikimedia.org", SECONDS_PER_PICTURE)
    for query in params.queries:
        continuation: dict[str, str] | None = {}
        while continuation is not None:
            url = (
                f"https://{HOST}/w/api.php?"
                f"{urlencode(QUERY | {'gsrsearch': f'filetype:bitmap {query}'} | continuation)}"
            )
            content = fetch_json(cache, url, ADVICE)
            if get_field(content, "error"):
                cache.discard(url)
                error = f"{get_text(content, 'error', 'code')}, {get_text(content, 'error', 'info')}"
                raise SourceError(f"{HOST} refused the request: {error}; {ADVICE}")
            yield from rows(content, params, query)
            following = get_field(content, "continue")
            continuation = (
                {name: str(value) for name, value in following.items()} if isinstance(following, dict) else None
            )


def rows(content: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """Yield the files in one response of the API, in search order."""
    for page in sorted(get_list(content, "query", "pages"), key=_search_rank):
        info = get_field(page, "imageinfo", 0)
        licence = get_text(info, "extmetadata", "LicenseShortName", "value")
        width = get_field(info, "width")
        scaled_url = get_url(info, "thumburl") if isinstance(width, int) and width > WIDTH_PX else ""
        if get_url(info, "url"):
            status, reason = check_licence(
                get_text(info, "extmetadata", "License", "value") or licence, params.licences
            )
            yield Candidate(
                params.kind,
                get_text(page, "title"),
                url=scaled_url or get_url(info, "url"),
                page_url=get_url(info, "descriptionurl"),
                query=query,
                licence=licence,
                licence_url=get_url(info, "extmetadata", "LicenseUrl", "value"),
                author=get_text(info, "extmetadata", "Artist", "value"),
                status=status,
                reason=reason,
            )


def _search_rank(page: Any) -> int:
    rank = get_field(page, "index")
    return rank if isinstance(rank, int) else 0
