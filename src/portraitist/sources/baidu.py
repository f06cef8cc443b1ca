"""Baidu image search: its pages' JSON, asked politely or saved by the user. It refuses programs often (antiFlag)."""

from collections.abc import Iterator

from icrawler.builtin.baidu import BaiduFeeder, BaiduParser

from portraitist.params import SearchParams
from portraitist.sources import Candidate, field, items, json_of, link, words
from portraitist.sources._engines import BlockedError, found, pages, word
from portraitist.spool import Spool

HOST = "image.baidu.com"
SECONDS = 3.0


def candidates(params: SearchParams, ask: Spool) -> Iterator[Candidate]:
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
        answer = json_of(text)
    except ValueError:
        raise BlockedError(f"a page in place of results: {text.strip()[:60]!r}") from None
    if field(answer, "antiFlag") or not isinstance(field(answer, "data"), list):
        raise BlockedError(words(answer, "message") or "an answer without results")
    for row in items(answer, "data"):
        ciphered = link(row, "objURL")
        plain_url = ciphered if ciphered.startswith("http") else _deciphered(ciphered)
        copies = [link(row, name) for name in ("hoverURL", "middleURL", "thumbURL")]
        addresses = [*dict.fromkeys(filter(None, (link(row, "replaceUrl", 0, "ObjURL"), plain_url, *copies)))]
        if addresses:
            yield Candidate(
                params.kind,
                words(row, "fromPageTitleEnc") or words(row, "fromPageTitle"),
                url=addresses[0],
                others=tuple(addresses[1:]),
                page_url=link(row, "replaceUrl", 0, "FromURL"),
                query=query or words(answer, "queryExt"),
            )


def _deciphered(text: str) -> str:
    return str(BaiduParser._decode_url(None, text)) if text else ""
