"""Google image search: the pages that the user saved. Google answers programs with a wall of JavaScript."""

import json
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from icrawler.builtin.google import GoogleFeeder

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate
from portraitist.collect.sources._search_engines import BlockedError, found, pages

HOST = "www.google.com"
SECONDS = 3.0
RESULT = re.compile(r'\["(https?:(?:[^"\\]|\\.)+)",\d+,\d+\]')  # [address, height, width]
LINK = re.compile(r"/imgres\?(?:[^\"'<>\s]*?&(?:amp;)?)?imgurl=([^&\"'<>\s]+)")  # what a result links to
OWN = (".gstatic.com", ".google.com", ".googleusercontent.com")  # Google's thumbnails and buttons


def candidates(params: SearchParams, ask: FetchCache) -> Iterator[Candidate]:
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
    told = [*map(_unescaped, RESULT.findall(text)), *(unquote(address) for address in LINK.findall(text))]
    urls = [url for url in dict.fromkeys(told) if _is_of_others(url)]
    if not urls and "/httpservice/retry/enablejs" in text:
        raise BlockedError("it answers only to a browser with JavaScript")
    if not urls:
        raise BlockedError("no result is recognised in its page")
    yield from (Candidate(params.kind, url=url, query=query) for url in urls)


def _unescaped(address: str) -> str:
    try:
        return str(json.loads(f'"{address}"', strict=False))
    except ValueError:
        return ""


def _is_of_others(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return bool(host) and url.isprintable() and not f".{host}".endswith(OWN)
