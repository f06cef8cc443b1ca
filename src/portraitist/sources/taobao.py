"""Buyers' pictures of hand-painted portraits, from product reviews on Taobao and Tmall that the user saved.

The review APIs require a login, a signature and a slider captcha, none of which this project automates. Open the
reviews in your own browser and save the responses as a HAR file, or their bodies as JSON or JSONP. You can also save
the pictures, or a list of their URLs (.txt or .csv).

From a review, only the pictures, their URLs, the product's number and a hash of the review's number are stored. The
buyer's name and profile picture, the text of the review, and cookies are not stored.

A picture that shows a photo and its painting side by side is split into a selfie and a portrait.
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

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import sniff_format
from portraitist.collect.params import TaobaoParams
from portraitist.core.manifest import Kind, picture_id
from portraitist.sources import (
    HEADER_BYTES,
    find_files,
    get_field,
    get_list,
    get_text,
    get_url,
    parse_json,
    printable_path,
)
from portraitist.sources.helpers.collage import split_collage
from portraitist.sources.helpers.saved_pages import SavedResponse, read_saved, read_text

REVIEW_HOSTS = ("rate.taobao.com", "rate.tmall.com", "h5api.m.taobao.com", "h5api.m.tmall.com")
BLOCK_MARKERS = ("rgv587_flag", "FAIL_SYS_USER_VALIDATE", "RGV587_ERROR", "x5secdata", "FAIL_SYS_SESSION_EXPIRED")
# What the URL of a scaled copy has after that of the original picture, such as "_400x400.jpg".
SIZE_SUFFIX = re.compile(r"(\.(?:jpg|jpeg|png|webp|gif))_(\d+)x\d+[^/]*$", re.I)
MIN_COPY_PX = 400  # if the copies in a HAR file are narrower, the original is downloaded instead
SECONDS_PER_PICTURE = 2.0
LIST_SUFFIXES = (".txt", ".csv")
LICENCE = "the buyer's own; private research only"


def candidates(params: TaobaoParams, cache: FetchCache) -> Iterator[Candidate]:
    """Yield every review picture that the saved files refer to or contain.

    Raises:
        SourceError: the folder contains nothing usable, or a saved response is a login or captcha page.
    """
    cache.limit_rate("img.alicdn.com", SECONDS_PER_PICTURE)
    known_urls: set[str] = set()
    pictures = list(_local_pictures(params.path))
    for candidate in (*_from_responses(params.path), *_from_lists(params.path), *pictures):
        if candidate.url not in known_urls:
            known_urls |= {candidate.url} - {""}
            yield candidate
    if not known_urls and not pictures:
        raise SourceError(
            f"collect.taobao.path: no review picture in {params.path}; with your own browser, save one of these there: "
            "a HAR file of a product's reviews, the responses as .json, the pictures, or a .txt with their URLs"
        )


def _from_responses(folder: Path) -> Iterator[Candidate]:
    """Yield the pictures in saved review responses, with their bytes if a HAR file has a copy at least 400 px wide."""
    reviews: list[SavedResponse] = []
    copies: dict[str, tuple[int, bytes]] = {}  # width and bytes of the largest copy, by the URL of the original
    for response in read_saved(folder):
        host = urlsplit(response.url).hostname or ""
        if not response.url or host in REVIEW_HOSTS:
            reviews.append(response)
        elif sniff_format(response.data[:HEADER_BYTES]):
            size = SIZE_SUFFIX.search(response.url)
            width = int(size[2]) if size else 1 << 20
            original = _original_url(response.url)
            if width >= max(MIN_COPY_PX, copies.get(original, (0, b""))[0]):
                copies[original] = (width, response.data)
    for response in reviews:
        for name, group, url in _review_pictures(response):
            original = _original_url(url)
            copy = copies.get(original)
            others = () if url == original else (url,)
            read = partial(bytes, copy[1]) if copy else None
            yield Candidate("portraits", name, read, original, others, licence=LICENCE, group=group)


def _review_pictures(response: SavedResponse) -> Iterator[tuple[str, str, str]]:
    """Yield (name, group, URL) for each picture in a review response; the pictures of a review form a group."""
    text = response.text
    marker = next((marker for marker in BLOCK_MARKERS if marker in text), "")
    if marker:
        raise SourceError(
            f"{response.file} contains a login or captcha page ({marker}) instead of reviews; open the reviews in your "
            "browser again, pass the site's check, and save the responses again"
        )
    try:
        content = parse_json(text)
    except ValueError:
        if response.url:
            return  # the response of these hosts to another request
        raise SourceError(
            f"{response.file} is not a saved response of the review API: expected JSON or JSONP; remove the file, or "
            "save the response again"
        ) from None
    item = _item_number(response.url)
    for review, urls in _parse_reviews(content):
        group = f"taobao/{hashlib.sha256(review.encode()).hexdigest()[:12]}" if review else ""
        for ordinal, url in enumerate(urls):
            yield f"{item}/{group.removeprefix('taobao/') or 'review'}/{ordinal}", group, url


def _parse_reviews(content: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield the id of each review and the URLs of its pictures; the three APIs have different response formats."""
    for review in get_list(content, "comments"):  # feedRateList
        appended = [get_field(review, "append"), *get_list(review, "appendList")]
        photos = [photo for part in (review, *appended) for photo in get_list(part, "photos")]
        yield (
            get_text(review, "rateId"),
            [url for photo in photos if (url := get_url(photo, "url") or get_url(photo, "thumbnail"))],
        )
    for review in get_list(content, "rateDetail", "rateList"):  # list_detail_rate
        photos = [*get_list(review, "pics"), *get_list(review, "appendComment", "pics")]
        yield get_text(review, "id"), [url for photo in photos if (url := get_url(photo))]
    for review in get_list(content, "data", "rateList"):  # mtop.taobao.rate.detaillist.get
        photos = [*get_list(review, "feedPicPathList"), *get_list(review, "appendedFeed", "appendFeedPicPathList")]
        urls = [url for photo in photos if (url := get_url(photo))]
        pictures = get_list(review, "feedPicList")
        yield (
            get_text(review, "id"),
            urls or [url for photo in pictures if (url := get_url(photo, "url") or get_url(photo, "thumbnail"))],
        )


def _item_number(url: str) -> str:
    """Return the product's number, found in the URL of a response; "item" if there is none."""
    query = parse_qs(urlsplit(url).query)
    with suppress(ValueError, AttributeError):
        query |= {key: [str(value)] for key, value in json.loads(query.get("data", ["{}"])[0]).items()}
    values = (query.get(name, [""])[0] for name in ("auctionNumId", "itemId"))
    return next((number for number in values if number.isdigit()), "item")


def _original_url(url: str) -> str:
    return SIZE_SUFFIX.sub(r"\1", url)


def _from_lists(folder: Path) -> Iterator[Candidate]:
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in LIST_SUFFIXES):
        for number, line in enumerate(read_text(path).splitlines(), 1):
            cell = line.split(",")[0].strip().strip('"')
            url = get_url(cell)
            if not cell or (number == 1 and cell.lower() == "url"):
                continue
            if not url.startswith(("http://", "https://")):
                raise SourceError(f"{path}, line {number}: expected a URL that begins with http:// or https://")
            original = _original_url(url)
            others = () if url == original else (url,)
            yield Candidate("portraits", f"{path.stem}/{number}", url=original, others=others, licence=LICENCE)


def _local_pictures(folder: Path) -> Iterator[Candidate]:
    """Yield the pictures in the folder, recognised by their first bytes; the pictures in a subfolder form a group."""
    for path in find_files(folder):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            if not sniff_format(file.read(HEADER_BYTES)):
                continue
        name = printable_path(path.relative_to(folder).as_posix())
        group = f"taobao/{name.rpartition('/')[0]}" if "/" in name else ""
        yield Candidate("portraits", name, path.read_bytes, licence=LICENCE, group=group)


def parts(candidate: Candidate, data: bytes, params: TaobaoParams) -> list[Candidate]:
    """Split a collage of a photo and its painting into a selfie and a portrait with the same `pair`.

    Returns:
        Two candidates; an empty list if the picture is not a collage.
    """
    halves = split_collage(data, params.min_seam)
    kinds: list[Kind] = ["selfies", "portraits"] if params.photo_side == "left" else ["portraits", "selfies"]
    return [
        replace(candidate, kind=kind, read=partial(bytes, half), pair=picture_id(data))
        for kind, half in zip(kinds, halves, strict=False)
    ]
