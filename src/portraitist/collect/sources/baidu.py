"""Baidu image search: its pages' JSON, asked politely or saved by the user. It refuses programs often (antiFlag)."""

from collections.abc import Iterator

from icrawler.builtin.baidu import BaiduFeeder, BaiduParser

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate, get_field, get_list, get_text, get_url, parse_json
from portraitist.collect.sources._search_engines import BlockedError, found, pages, word

HOST = "image.baidu.com"
SECONDS = 3.0


def candidates(params: SearchParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every result's own address, then those of Baidu's copies.

    Raises:
        SourceError: Baidu refuses.
    """
    yield from found(params, ask, HOST, SECONDS, lambda query: pages(BaiduFeeder, word(query)), parse)


def parse(text: str, params: SearchParams, query: str) -> Iterator[Candidate]:
    """The results in one answer of acjson.

    Raises:
        BlockedError: It is none.
    """
    try:
        answer = parse_json(text)
    except ValueError:
        raise BlockedError(f"a page in place of results: {text.strip()[:60]!r}") from None
    if get_field(answer, "antiFlag") or not isinstance(get_field(answer, "data"), list):
        raise BlockedError(get_text(answer, "message") or "an answer without results")
    for row in get_list(answer, "data"):
        ciphered = get_url(row, "objURL")
        plain_url = ciphered if ciphered.startswith("http") else _deciphered(ciphered)
        copies = [get_url(row, name) for name in ("hoverURL", "middleURL", "thumbURL")]
        addresses = [*dict.fromkeys(filter(None, (get_url(row, "replaceUrl", 0, "ObjURL"), plain_url, *copies)))]
        if addresses:
            yield Candidate(
                params.kind,
                get_text(row, "fromPageTitleEnc") or get_text(row, "fromPageTitle"),
                url=addresses[0],
                others=tuple(addresses[1:]),
                page_url=get_url(row, "replaceUrl", 0, "FromURL"),
                query=query or get_text(answer, "queryExt"),
            )


def _deciphered(text: str) -> str:
    return str(BaiduParser._decode_url(None, text)) if text else ""
