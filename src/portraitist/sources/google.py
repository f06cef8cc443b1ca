"""Google image search: result pages that the user saved.

Google sends result pages only to browsers with JavaScript. If the user has saved no result pages, this source requests
them nevertheless, but Google usually refuses.
"""

import json
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from icrawler.builtin.google import GoogleFeeder

from portraitist.collect.candidate import Candidate
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.sources.helpers.search_engines import BlockedError, result_pages, search

HOST = "www.google.com"
SECONDS_PER_PAGE = 3.0
RESULT = re.compile(r'\["(https?:(?:[^"\\]|\\.)+)",\d+,\d+\]')  # [url, height, width]
LINK = re.compile(r"/imgres\?(?:[^\"'<>\s]*?&(?:amp;)?)?imgurl=([^&\"'<>\s]+)")  # a result's link
GOOGLE_HOSTS = (".gstatic.com", ".google.com", ".googleusercontent.com")  # have Google's thumbnails and buttons


def candidates(params: SearchParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield the URL of the original picture of every search result.

    Raises:
        SourceError: `params.path` contains no saved result pages, and Google refuses the request; or a saved page is
            not a result page; or the folder `params.path` does not exist.
    """
    yield from search(params, cache, HOST, SECONDS_PER_PAGE, lambda query: result_pages(GoogleFeeder, query), parse)


def parse(text: str, params: SearchParams, query: str) -> Iterator[Candidate]:
    """Yield the results on one page.

    Raises:
        BlockedError: the text is not a result page.
    """
    found = [*map(_unescape, RESULT.findall(text)), *(unquote(url) for url in LINK.findall(text))]
    urls = [url for url in dict.fromkeys(found) if _is_external(url)]
    if not urls and "/httpservice/retry/enablejs" in text:
        raise BlockedError("the site requires a browser with JavaScript")
    if not urls:
        raise BlockedError("the result page contains no pictures; Google probably blocks automatic requests")
    yield from (Candidate(params.kind, url=url, query=query) for url in urls)


def _unescape(url: str) -> str:
    try:
        return str(json.loads(f'"{url}"', strict=False))
    except ValueError:
        return ""


def _is_external(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return False
    return bool(host) and url.isprintable() and not f".{host}".endswith(GOOGLE_HOSTS)
