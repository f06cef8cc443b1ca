"""What the user put there: lists of his own, and answers that he saved from his browser.

Such answers are pages, JSON, and HAR files, of which only the answers are read.
"""

import base64
import binascii
import csv
import io
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from portraitist.collect.http import decode_text
from portraitist.collect.params import SearchParams
from portraitist.collect.sources import Candidate, SourceError, get_field, get_list, parse_json, plain_text

P = TypeVar("P", bound=SearchParams)
TEXTS = {".html", ".htm", ".json", ".jsonp", ".js"}
MAX_MB = 512


@dataclass(frozen=True)
class Saved:
    """An answer out of a file: where it came from, if that is known, and its bytes."""

    file: Path
    url: str
    data: bytes

    @property
    def text(self) -> str:
        """The answer as text."""
        return decode_text(self.data)


def text_of(path: Path) -> str:
    """A file's text, whichever charset an editor or a spreadsheet saved it in, as `fetch.decoded` takes it."""
    return decode_text(path.read_bytes()).removeprefix("\ufeff")


def rows_of(path: Path, needed: Collection[str], more: Collection[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a .csv, each with the line that it ends in.

    Raises:
        SourceError: A needed column is missing, one is neither needed nor one more, or a line is malformed.
    """
    table = csv.DictReader(io.StringIO(text_of(path), newline=""), strict=True)
    try:
        columns = table.fieldnames or []
        if not set(needed) <= set(columns) <= {*needed, *more} or len(set(columns)) < len(columns):
            told = f"{','.join(needed)} are needed" + (f", {','.join(more)} may be there" if more else "")
            raise SourceError(f"{path}: the columns are {plain_text(','.join(columns))!r}; {told}, each once")
        for row in table:
            if None in row or None in row.values():
                raise SourceError(f"{path}, line {table.line_num}: {len(columns)} cells were expected")
            yield table.line_num, row
    except csv.Error as error:
        raise SourceError(f"{path}, line {table.reader.line_num}: {error}") from None  # the table's own lags behind


def saved(folder: Path) -> Iterator[Saved]:
    """Every answer in a folder's pages, JSON and HAR files, by the files' names.

    Of a HAR's entries the answer and its address are taken. What the browser sent (cookies, names) is never read.

    Raises:
        SourceError: A file is no such thing as its name says, or too large.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in {*TEXTS, ".har"} or not path.is_file():
            continue
        if path.stat().st_size > MAX_MB << 20:
            raise SourceError(f"{path} is larger than {MAX_MB} MB; save fewer pages in one file")
        if path.suffix.lower() == ".har":
            yield from _of_har(path)
        else:
            yield Saved(path, "", path.read_bytes())


def has_saved(folder: Path) -> bool:
    """Whether the user has saved something here, which is then read in place of asking the web."""
    return any(path.suffix.lower() in {*TEXTS, ".har"} for path in folder.rglob("*"))


def texts_from(folder: Path, host: str) -> list[str]:
    """The texts among saved answers that came from a host; a file that is no HAR is taken for one of its."""
    return [one.text for one in saved(folder) if not one.url or (urlsplit(one.url).hostname or "") == host]


def from_saved(params: P, host: str, rows: Callable[[Any, P, str], Iterable[Candidate]]) -> Iterator[Candidate]:
    """What the user's saved answers of an interface hold.

    Raises:
        SourceError: One is no JSON.
    """
    for text in texts_from(params.path, host):
        try:
            answer = parse_json(text)
        except ValueError:
            raise SourceError(f"a file in {params.path} is no answer of {host}: {text.strip()[:60]!r}") from None
        yield from rows(answer, params, "")


def _of_har(path: Path) -> Iterator[Saved]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is no HAR: {error}") from None
    if not isinstance(get_field(content, "log", "entries"), list):
        raise SourceError(f"{path} is no HAR: log.entries is missing; save it from the browser's network panel")
    for entry in get_list(content, "log", "entries"):
        url, answer = get_field(entry, "request", "url"), get_field(entry, "response", "content")
        text = get_field(answer, "text")
        if isinstance(url, str) and _has_host(url) and isinstance(text, str) and text:
            yield Saved(path, url, _bytes(text, get_field(answer, "encoding")))


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _bytes(text: str, encoding: Any) -> bytes:
    if encoding != "base64":
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
