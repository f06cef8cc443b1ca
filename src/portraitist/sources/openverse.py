"""Openverse, by its interface: openly licensed pictures of many sites. Without an account 20 requests a minute."""

import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from portraitist.params import LicensedParams
from portraitist.sources import Candidate, asked_json, field, items, link, words
from portraitist.sources._licences import refused
from portraitist.sources._saved import from_saved, has_saved
from portraitist.spool import Spool

HOST = "api.openverse.org"
DO = "wait (200 requests a day are free), or set OPENVERSE_TOKEN in the environment to a free token"
SECONDS = 3.1


def candidates(params: LicensedParams, ask: Spool) -> Iterator[Candidate]:
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
            answer = asked_json(ask, f"https://{HOST}/v1/images/?{urlencode(asks)}", DO, headers=headers)
            yield from rows(answer, params, query)
            told = field(answer, "page_count")
            number, last = number + 1, told if isinstance(told, int) else 0


def rows(answer: Any, params: LicensedParams, query: str) -> Iterator[Candidate]:
    """The results in one answer."""
    for row in items(answer, "results"):
        if link(row, "url"):
            verdict, reason = refused(words(row, "license"), params.licences)
            yield Candidate(
                params.kind,
                words(row, "title"),
                url=link(row, "url"),
                page_url=link(row, "foreign_landing_url"),
                query=query,
                licence=f"{words(row, 'license')} {words(row, 'license_version')}".strip(),
                licence_url=link(row, "license_url"),
                author=words(row, "creator"),
                verdict=verdict,
                reason=reason,
            )
