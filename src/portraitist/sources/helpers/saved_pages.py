"""Files that the user saved: CSV lists, and responses saved from a browser.

Responses are saved as HTML pages, JSON, or HAR files. Other content of HAR files is not read.
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

from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import decode_text
from portraitist.collect.params import CollectParams, SearchParams
from portraitist.sources import get_field, get_list, parse_json, plain_text

P = TypeVar("P", bound=SearchParams)
HAR_SUFFIX = ".har"
RESPONSE_SUFFIXES = {".html", ".htm", ".json", ".jsonp", ".js", HAR_SUFFIX}
MAX_MB = 512


@dataclass(frozen=True)
class SavedResponse:
    """A response read from a file: its URL, "" if unknown, and its body."""

    file: Path
    url: str
    data: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return decode_text(self.data)


def read_text(path: Path) -> str:
    """Read a text file whose charset is unknown; see `http.decode_text`."""
    return decode_text(path.read_bytes()).removeprefix("\ufeff")


def read_csv(
    path: Path, required: Collection[str], optional: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a CSV file, each with the number of its last line.

    Raises:
        SourceError: a required column is missing, a column is unknown, or a line is malformed.
    """
    table = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        columns = table.fieldnames or []
        if not set(required) <= set(columns) <= {*required, *optional} or len(set(columns)) < len(columns):
            allowed = f"required: {','.join(required)}" + (f"; optional: {','.join(optional)}" if optional else "")
            raise SourceError(f"{path}: the columns are {plain_text(','.join(columns))!r}; {allowed}; each once")
        for row in table:
            if None in row or None in row.values():
                found = "more" if None in row else "fewer"
                raise SourceError(f"{path}, line {table.line_num}: expected {len(columns)} cells, found {found}")
            yield table.line_num, row
    except csv.Error as error:
        # `table.line_num` is not updated until a row is complete
        raise SourceError(f"{path}, line {table.reader.line_num}: {error}") from None


def read_saved(folder: Path) -> Iterator[SavedResponse]:
    """Yield the responses in all pages, JSON and HAR files below a folder, in the order of the file names.

    Only the URL and the response body of a HAR entry are read, never the request's headers (cookies, names).

    Raises:
        SourceError: a HAR file is invalid, or a file is too large.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in RESPONSE_SUFFIXES or not path.is_file():
            continue
        if path.stat().st_size > MAX_MB << 20:
            raise SourceError(f"{path} is larger than {MAX_MB} MB; save fewer pages in one file")
        if path.suffix.lower() == HAR_SUFFIX:
            yield from _read_har(path)
        else:
            yield SavedResponse(path, "", path.read_bytes())


def has_saved_responses(params: CollectParams, cache: FetchCache) -> bool:
    """Return whether the source's folder contains saved responses, which are then read instead of the web.

    Raises:
        SourceError: the folder does not exist.
    """
    key, folder = f"collect.{cache.source}.path", params.path
    if not folder.is_dir():
        raise SourceError(
            f"{key}: {folder} is not a folder; create it and put saved pages or responses there, or leave it empty to "
            f"use the web; or change {key}"
        )
    return any(path.suffix.lower() in RESPONSE_SUFFIXES for path in folder.rglob("*"))


def saved_texts(folder: Path, host: str) -> list[str]:
    """Return the saved responses of a host as text. A file that is not a HAR has no URL and is always included."""
    return [
        response.text
        for response in read_saved(folder)
        if not response.url or (urlsplit(response.url).hostname or "") == host
    ]


def candidates_from_saved(
    params: P, host: str, rows: Callable[[Any, P, str], Iterable[Candidate]]
) -> Iterator[Candidate]:
    """Yield the candidates in saved API responses of a host. `rows` extracts them from one response.

    Raises:
        SourceError: a response is not JSON.
    """
    for text in saved_texts(params.path, host):
        try:
            content = parse_json(text)
        except ValueError:
            found = text.strip()[:60]
            raise SourceError(f"a file in {params.path} is not a JSON response of {host}: {found!r}") from None
        yield from rows(content, params, "")


def _read_har(path: Path) -> Iterator[SavedResponse]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not a HAR file: {error}") from None
    if not isinstance(get_field(content, "log", "entries"), list):
        raise SourceError(f"{path} is not a HAR file: log.entries is missing; save it from the browser's network panel")
    for entry in get_list(content, "log", "entries"):
        url, body = get_field(entry, "request", "url"), get_field(entry, "response", "content")
        text = get_field(body, "text")
        if isinstance(url, str) and _has_host(url) and isinstance(text, str) and text:
            yield SavedResponse(path, url, _decode_body(text, get_field(body, "encoding")))


def _has_host(url: str) -> bool:
    try:
        return bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _decode_body(text: str, encoding: Any) -> bytes:
    if encoding != "base64":
        return text.encode("utf-8", "replace")
    try:
        return base64.b64decode(text)
    except binascii.Error:
        return b""
