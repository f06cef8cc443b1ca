"""Openly licensed pictures from many sites, found by the API of Openverse. No account is needed.

Without an account, the API allows 20 requests per minute and 200 per day. If you have an account, set the environment
variable OPENVERSE_TOKEN to its token.
"""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import LicensedParams
from portraitist.sources import fetch_json, get_field, get_list, get_text, get_url
from portraitist.sources.helpers.licences import check_licence
from portraitist.sources.helpers.saved_pages import candidates_from_saved, has_saved_responses

HOST = "api.openverse.org"
ADVICE = (
    "wait (200 requests a day are allowed without an account), or set the environment variable OPENVERSE_TOKEN to a "
    "free token"
)
SECONDS_PER_PAGE = 3.1


def candidates(params: LicensedParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every picture found, with its URL on the original site.

    Pictures whose licence is not in `params.licences` have status `no_licence`.

    Raises:
        SourceError: Openverse refuses the request.
    """
    if has_saved_responses(params, cache):
        yield from candidates_from_saved(params, HOST, rows)
        return
    cache.limit_rate(HOST, SECONDS_PER_PAGE)
    token = os.environ.get("OPENVERSE_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for query in params.queries:
        page, last_page = 1, 1
        while page <= last_page:
            parameters = {
                "q": query,
                "license": ",".join(params.licences),
                "page_size": 20,
                "mature": "false",
                "page": page,
            }
            url = f"https://{HOST}/v1/images/?{urlencode(parameters)}"
            content = fetch_json(cache, url, ADVICE, headers=headers)
            yield from rows(content, params, query)
            pages = get_field(content, "page_count")
            page, last_page = page + 1, pages if isinstance(pages, int) else 0


def rows(content: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """Yield the results in one response of the API."""
    for row in get_list(content, "results"):
        if get_url(row, "url"):
            status, reason = check_licence(get_text(row, "license"), params.licences)
            yield Candidate(
                params.kind,
                get_text(row, "title"),
                url=get_url(row, "url"),
                page_url=get_url(row, "foreign_landing_url"),
                query=query,
                licence=f"{get_text(row, 'license')} {get_text(row, 'license_version')}".strip(),
                licence_url=get_url(row, "license_url"),
                author=get_text(row, "creator"),
                status=status,
                reason=reason,
            )
