"""Google image search: the pages that the user saved. Google answers programs with a wall of JavaScript."""

import json
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from icrawler.builtin.google import GoogleFeeder

from portraitist.params import SearchParams
from portraitist.sources import Candidate
from portraitist.sources._engines import BlockedError, found, pages
from portraitist.spool import Spool

HOST = "www.google.com"
SECONDS = 3.0
RESULT = re.compile(r'\["(https?:(?:[^"\\]|\\.)+)",(\d+),(\d+)\]')  # [address, height, width]
OWN = ("gstatic.com", "google.com", "googleusercontent.com")  # Google's thumbnails and buttons


def candidates(params: SearchParams, ask: Spool) -> Iterator[Candidate]:
    """Every result's own address.

    Raises:
        SourceError: Google refuses, as it does to all but browsers.
    """
    yield from found(params, ask, HOST, SECONDS, lambda query: pages(GoogleFeeder, query), parse)


def parse(text: str, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The results in one page.

    Raises:
        BlockedError: It is none.
    """
    if "/httpservice/retry/enablejs" in text:
        raise BlockedError("it answers only to a browser with JavaScript")
    addresses = [json.loads(f'"{match[1]}"', strict=False) for match in RESULT.finditer(text) if _is_text(match[1])]
    urls = [url for url in addresses if not (urlsplit(url).hostname or "").endswith(OWN)]
    if not urls:
        raise BlockedError("no result is recognised in its page")
    yield from (Candidate(params.kind, url=url, query=query) for url in urls)


def _is_text(escaped: str) -> bool:
    try:
        urlsplit(json.loads(f'"{escaped}"', strict=False))
    except ValueError:
        return False
    return True
