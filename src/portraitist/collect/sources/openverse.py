"""Openverse, by its interface: openly licensed pictures of many sites. Without an account 20 requests a minute."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import LicensedParams
from portraitist.collect.sources import Candidate, get_field, get_list, get_text, get_url, request_json
from portraitist.collect.sources._licences import refused
from portraitist.collect.sources._saved_pages import from_saved, has_saved

HOST = "api.openverse.org"
DO = "wait (200 requests a day are free), or set OPENVERSE_TOKEN in the environment to a free token"
SECONDS = 3.1


def candidates(params: LicensedParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every picture that is found, from where it is published. One under another licence is a row that says so.

    Raises:
        SourceError: Openverse refuses.
    """
    if has_saved(params.path):
        yield from from_saved(params, HOST, rows)
        return
    ask.pace(HOST, SECONDS)
    token = os.environ.get("OPENVERSE_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    for query in params.queries:
        number, last = 1, 1
        while number <= last:
            asks = {
                "q": query,
                "license": ",".join(params.licences),
                "page_size": 20,
                "mature": "false",
                "page": number,
            }
            answer = request_json(ask, f"https://{HOST}/v1/images/?{urlencode(asks)}", DO, headers=headers)
            yield from rows(answer, params, query)
            told = get_field(answer, "page_count")
            number, last = number + 1, told if isinstance(told, int) else 0


def rows(answer: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """The results in one answer."""
    for row in get_list(answer, "results"):
        if get_url(row, "url"):
            status, reason = refused(get_text(row, "license"), params.licences)
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
