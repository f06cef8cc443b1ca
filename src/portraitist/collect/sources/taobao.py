"""Buyers' photos of hand-painted portraits from Taobao and Tmall reviews, out of what the user saved himself.

The review interfaces want a login, a signature and a slider, and this project passes none of them. Look at the reviews
in your own browser and save what it received: a HAR, or the bodies of the answers (JSON or JSONP); or save pictures, or
a list of their addresses (.txt or .csv). Of an answer only the pictures' addresses, the item's number and a hash of the
review's are taken: no name, no avatar, no word of a comment, no cookie.

A photo beside the painting that was made from it is cut into two pictures, which are a pair.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import sniff_format
from portraitist.collect.params import TaobaoParams
from portraitist.collect.sources import (
    PICTURE_SUFFIXES,
    Candidate,
    SourceError,
    get_field,
    get_list,
    get_text,
    get_url,
    parse_json,
)
from portraitist.collect.sources._collage import cut
from portraitist.collect.sources._saved_pages import Saved, saved, text_of
from portraitist.core.manifest import Kind, picture_id

ANSWERS = ("rate.taobao.com", "rate.tmall.com", "h5api.m.taobao.com", "h5api.m.tmall.com")
WALLS = ("rgv587_flag", "FAIL_SYS_USER_VALIDATE", "RGV587_ERROR", "x5secdata", "FAIL_SYS_SESSION_EXPIRED")
SIZE = re.compile(r"(\.(?:jpg|jpeg|png|webp|gif))_(\d+)x\d+[^/]*$", re.I)  # a scaled copy's name after the original's
LARGE_PX = 400  # a copy in a HAR that is smaller is a thumbnail, and the original is fetched
SECONDS = 2.0
LICENCE = "the buyer's own; private research only"


def candidates(params: TaobaoParams, ask: FetchCache) -> Iterator[Candidate]:
    """Every review picture that the saved files name or hold.

    Raises:
        SourceError: The folder holds nothing that can be read, or a saved answer is a login or slider page.
    """
    ask.pace("img.alicdn.com", SECONDS)
    seen: set[str] = set()
    for one in (*_reviewed(params.path), *_listed(params.path), *_pictures(params.path)):
        if one.url not in seen:
            seen |= {one.url} - {""}
            yield one
    if not seen and not any(_pictures(params.path)):
        raise SourceError(
            f"{params.path} holds no review picture; save there a HAR of a product's reviews from your own browser, "
            "the answers as .json, pictures, or a .txt of their addresses"
        )


def _reviewed(folder: Path) -> Iterator[Candidate]:
    answers: list[Saved] = []
    bodies: dict[str, tuple[int, bytes]] = {}
    for one in saved(folder):
        host = urlsplit(one.url).hostname or ""
        if not one.url or host in ANSWERS:
            answers.append(one)
        elif sniff_format(one.data[:16]):
            size = SIZE.search(one.url)
            width = int(size[2]) if size else 1 << 20
            if width >= max(LARGE_PX, bodies.get(_original(one.url), (0, b""))[0]):
                bodies[_original(one.url)] = (width, one.data)
    for answer in answers:
        for name, group, url in _named(answer):
            original = _original(url)
            body = bodies.get(original)
            others = () if url == original else (url,)
            data = partial(bytes, body[1]) if body else None
            yield Candidate("portraits", name, data, original, others, licence=LICENCE, group=group)


def _named(answer: Saved) -> Iterator[tuple[str, str, str]]:
    """The pictures in one answer: (a name, the review's group, the address)."""
    text = answer.text
    wall = next((sign for sign in WALLS if sign in text), "")
    if wall:
        raise SourceError(
            f"{answer.file} holds a refusal ({wall}) in place of reviews; look at them in your browser again, "
            "do what the site asks you for, and save anew"
        )
    try:
        content = parse_json(text)
    except ValueError:
        if answer.url:
            return  # another answer of these hosts
        raise SourceError(f"{answer.file} is no saved answer: neither JSON nor JSONP") from None
    item = _item(answer.url)
    for review, urls in _reviews(content):
        group = f"taobao/{hashlib.sha256(review.encode()).hexdigest()[:12]}" if review else ""
        for ordinal, url in enumerate(urls):
            yield f"{item}/{group.removeprefix('taobao/') or 'review'}/{ordinal}", group, url


def _reviews(content: Any) -> Iterator[tuple[str, list[str]]]:
    """Each review's number and its pictures' addresses, in the three forms that there are."""
    for review in get_list(content, "comments"):  # feedRateList
        more = [get_field(review, "append"), *get_list(review, "appendList")]
        photos = [photo for part in (review, *more) for photo in get_list(part, "photos")]
        yield (
            get_text(review, "rateId"),
            [url for photo in photos if (url := get_url(photo, "url") or get_url(photo, "thumbnail"))],
        )
    for review in get_list(content, "rateDetail", "rateList"):  # list_detail_rate
        listed = [*get_list(review, "pics"), *get_list(review, "appendComment", "pics")]
        yield get_text(review, "id"), [url for one in listed if (url := get_url(one))]
    for review in get_list(content, "data", "rateList"):  # mtop.taobao.rate.detaillist.get
        listed = [*get_list(review, "feedPicPathList"), *get_list(review, "appendedFeed", "appendFeedPicPathList")]
        urls = [url for one in listed if (url := get_url(one))]
        pictures = get_list(review, "feedPicList")
        yield (
            get_text(review, "id"),
            urls or [url for one in pictures if (url := get_url(one, "url") or get_url(one, "thumbnail"))],
        )


def _item(url: str) -> str:
    """The item's number, out of an answer's address."""
    query = parse_qs(urlsplit(url).query)
    with suppress(ValueError, AttributeError):
        query |= {key: [str(value)] for key, value in json.loads(query.get("data", ["{}"])[0]).items()}
    told = (query.get(name, [""])[0] for name in ("auctionNumId", "itemId"))
    return next((number for number in told if number.isdigit()), "item")


def _original(url: str) -> str:
    return SIZE.sub(r"\1", url)


def _listed(folder: Path) -> Iterator[Candidate]:
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".txt", ".csv")):
        for number, line in enumerate(text_of(path).splitlines(), 1):
            given = line.split(",")[0].strip().strip('"')
            url = get_url(given)
            if not given or (number == 1 and given.lower() == "url"):
                continue
            if not url.startswith(("http://", "https://")):
                raise SourceError(f"{path}, line {number}: an address was expected")
            others = () if url == _original(url) else (url,)
            yield Candidate("portraits", f"{path.stem}/{number}", url=_original(url), others=others, licence=LICENCE)


def _pictures(folder: Path) -> Iterator[Candidate]:
    for path in sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ):
        inner = path.parent.relative_to(folder).as_posix()
        group = "" if inner == "." else f"taobao/{inner}"
        name = path.relative_to(folder).as_posix()
        yield Candidate("portraits", name, path.read_bytes, licence=LICENCE, group=group)


def parts(candidate: Candidate, data: bytes, params: TaobaoParams) -> list[Candidate]:
    """The photo and the painting beside it, as two pictures that are a pair; nothing, if it is one picture."""
    halves = cut(data, params.seam)
    kinds: list[Kind] = ["selfies", "portraits"] if params.photo == "left" else ["portraits", "selfies"]
    return [
        replace(candidate, kind=kind, read=partial(bytes, half), pair=picture_id(data))
        for kind, half in zip(kinds, halves, strict=False)
    ]
