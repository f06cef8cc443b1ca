"""Readers of files that the user saved: CSV lists, and web responses saved from a browser.

Responses are HTML pages, JSON files, or HAR files, which the network panel of a browser saves. Only the URLs and the
bodies of the responses in a HAR file are read, never the headers of requests, which contain cookies.
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
PARTS_SUFFIX = "_files"  # of the folder in which a browser saves the parts of a page
MAX_MB = 512  # in units of 2^20 bytes


@dataclass(frozen=True)
class SavedResponse:
    """A web response that was read from a file."""

    file: Path
    url: str  # "" if unknown
    data: bytes  # body of the response

    @property
    def text(self) -> str:
        """The body of the response as text."""
        return decode_text(self.data)


def read_text(path: Path) -> str:
    """Read a text file whose charset is unknown: UTF-8, or else GB 18030."""
    return decode_text(path.read_bytes()).removeprefix("\ufeff")


def read_csv(
    path: Path, required: Collection[str], optional: Collection[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of a CSV file as a tuple (line, {column: cell}).

    `line` is the number of the line on which the row ends, for error messages. If a cell contains line breaks, a row
    has several lines.

    Raises:
        SourceError: a required column is missing, a column is unknown, or a line is malformed.
    """
    table = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        columns = table.fieldnames or []
        if not set(required) <= set(columns) <= {*required, *optional} or len(set(columns)) < len(columns):
            allowed = f"required: {','.join(required)}" + (f"; optional: {','.join(optional)}" if optional else "")
            found = f"found the columns {plain_text(','.join(columns))!r}"
            raise SourceError(f"{path}: {found}; {allowed}; no column may be repeated")
        for row in table:
            if None in row or None in row.values():
                found = "more" if None in row else "fewer"
                raise SourceError(f"{path}, line {table.line_num}: expected {len(columns)} cells, found {found}")
            yield table.line_num, row
    except csv.Error as error:
        # `table.line_num` is not updated until a row is complete
        raise SourceError(f"{path}, line {table.reader.line_num}: {error}") from None


def read_saved(folder: Path) -> Iterator[SavedResponse]:
    """Yield the responses in all HTML, JSON and HAR files in a folder and its subfolders, sorted by path.

    Raises:
        SourceError: a HAR file is malformed, or a file is larger than `MAX_MB`.
    """
    for path in _response_files(folder):
        if path.stat().st_size > MAX_MB << 20:
            raise SourceError(f"{path} is larger than {MAX_MB} MiB; save fewer pages in one file")
        if path.suffix.lower() == HAR_SUFFIX:
            yield from _read_har(path)
        else:
            yield SavedResponse(path, "", path.read_bytes())


def has_saved_responses(params: CollectParams, cache: FetchCache) -> bool:
    """Return whether the folder of a source contains saved responses.

    If it does, the source takes the URLs of pictures from these responses, and does not search the web.

    Raises:
        SourceError: the folder does not exist.
    """
    key, folder = f"collect.{cache.source}.path", params.path
    if not folder.is_dir():
        raise SourceError(
            f"{key}: {folder} is not a folder; create this folder, or set {key} to another one. The folder may be "
            "empty: the source then searches the web. To avoid this, put saved pages or responses there"
        )
    return bool(_response_files(folder))


def _response_files(folder: Path) -> list[Path]:
    """Return the HTML, JSON and HAR files in a folder and its subfolders, sorted by path.

    Browsers save the scripts and frames of the page NAME.html in a folder NAME_files beside it, which is left out.
    """
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in RESPONSE_SUFFIXES and path.is_file())
    parts = {path.with_name(f"{path.stem}{PARTS_SUFFIX}") for path in found if path.suffix.lower() in (".html", ".htm")}
    return [path for path in found if parts.isdisjoint(path.parents)]


def saved_responses(folder: Path, host: str) -> list[SavedResponse]:
    """Return the saved responses of a host.

    A HAR file contains the URL of each response, so responses of other hosts are left out. An HTML or JSON file does
    not contain the URL of its response. The responses in these files are always returned, whatever their host is.

    Raises:
        SourceError: there are saved responses, but none is of this host.
    """
    saved = list(read_saved(folder))
    hosts = [urlsplit(response.url).hostname or "" for response in saved]
    found = [response for response, other in zip(saved, hosts, strict=True) if other in ("", host)]
    if saved and not found:
        others = sorted(set(hosts))
        raise SourceError(
            f"{folder}: the saved responses are of {', '.join(others[:5])}{' …' if len(others) > 5 else ''}; expected "
            f"responses of {host}: save the pages of {host}, or remove the files to search the web"
        )
    return found


def candidates_from_saved(
    params: P, host: str, rows: Callable[[Any, P, str], Iterable[Candidate]]
) -> Iterator[Candidate]:
    """Yield the candidates in the saved API responses of a host.

    Args:
        params: parameters of the source; `params.path` is the folder of saved responses.
        host: host name of the API.
        rows: function (parsed JSON, params, query) that yields the candidates in one response.

    Raises:
        SourceError: a response is not JSON.
    """
    for response in saved_responses(params.path, host):
        try:
            content = parse_json(response.text)
        except ValueError:
            found = response.text.strip()[:60]
            raise SourceError(
                f"{response.file}: expected JSON responses of {host}, found a response that begins with {found!r}; "
                "remove the file"
            ) from None
        yield from rows(content, params, "")


def _read_har(path: Path) -> Iterator[SavedResponse]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path} is not a HAR file: {error}; save it again from the browser's network panel"
        ) from None
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
