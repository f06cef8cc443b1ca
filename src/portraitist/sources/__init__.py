"""Sources of pictures, one module each. Every source defines a function `candidates(params, cache)`.

The function yields candidates. A candidate has the metadata of a picture, and either a URL or a function that reads a
file. The module `collector` then downloads or reads the picture. A source can also define
`parts(candidate, data, params)`, which splits one picture into several.

Sources request pages and APIs only through `cache`, a `FetchCache`. It protects against hostile servers, limits the
rate of requests, and stores responses, so that an interrupted run does not repeat requests. If a site refuses a
request, the source raises a `SourceError` that says what was found and what the user can do. Sources do not solve
captchas, compute request signatures or imitate browsers.
"""

import importlib
import json
import os
import pkgutil
import re
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from portraitist.collect.candidate import SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import Response, sniff_format
from portraitist.collect.ssrf import FetchError
from portraitist.core.manifest import KINDS, Kind
from portraitist.core.outcome import Status

FORMATS = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC or AVIF"
# Brands of ISO media files with a still picture (HEIC, AVIF); files with other brands are videos or animations.
ISO_MEDIA_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif"}
PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
HEADER_BYTES = 32  # enough for `sniff_format` and for the brand of an ISO media file
HTTP_OK = 200
MAX_TEXT_CHARS = 300
MAX_URL_CHARS = 4096


@dataclass(frozen=True)
class LocalFile:
    """A file in a folder of the user."""

    path: Path
    name: str  # path relative to the folder, as valid Unicode
    status: Status | None = None  # set if the file is not a usable picture
    reason: str = ""  # why the file is not usable

    @property
    def folder(self) -> str:
        """The subfolder that contains the file; "" if there is none."""
        return self.name.rpartition("/")[0]


def source_names() -> list[str]:
    """Return the names of all sources."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def load_source(name: str) -> ModuleType:
    """Import the module of a source, sources/<name>.py.

    Raises:
        SourceError: there is no such source.
    """
    if name not in source_names():
        raise SourceError(f"unknown source {name!r}; available sources: {', '.join(source_names())}")
    return importlib.import_module(f"{__name__}.{name}")


def find_files(folder: Path, on_error: Callable[[OSError], None] | None = None) -> list[Path]:
    """Return every file in a folder and its subfolders, sorted by path.

    Symbolic links are followed, but each real folder is read only once.

    Args:
        folder: where to search.
        on_error: called with the error if a folder cannot be read; by default, such a folder is skipped.
    """
    found: list[Path] = []
    visited: set[str] = set()
    pending = deque([str(folder)])
    while pending:
        for parent, folders, files in os.walk(pending.popleft(), onerror=on_error):  # does not enter linked folders
            real = os.path.realpath(parent)
            if real in visited:
                folders.clear()
                continue
            visited.add(real)
            paths = [os.path.join(parent, name) for name in sorted(folders)]  # noqa: PTH118
            pending.extend(path for path in paths if os.path.islink(path))  # noqa: PTH114
            found += [Path(parent, name) for name in files]
    return sorted(found)


def find_pictures(folder: Path, key: str, expected: str) -> list[LocalFile]:
    """List every file in a folder and its subfolders, sorted by path, without hidden files and folders.

    Hidden names begin with a dot, such as the files ._a.jpg that macOS writes beside each picture on other disks.

    A file is recognised as a picture by its first bytes. If a file is not a usable picture, its `LocalFile` has a
    `status` and a `reason`. There is one exception: if the first bytes are unknown, but the file has the suffix of a
    picture, such as .jpg, the `status` is None. Such a file is probably a damaged picture, and stage `clean` reports
    the damage.

    Args:
        folder: where to search.
        key: the key in params.yaml that names this folder, for error messages.
        expected: what the user should put in the folder, for error messages.

    Raises:
        SourceError: the folder is missing, cannot be read, or contains no picture.
    """

    def stop(error: OSError) -> None:
        raise SourceError(f"{key}: cannot read folder {printable_path(str(error.filename))}: {error.strerror}")

    if not folder.is_dir():
        raise SourceError(f"{key}: {folder} is not a folder; create it and put {expected} there, or change {key}")
    files = [
        _inspect(path, printable_path(path.relative_to(folder).as_posix()))
        for path in find_files(folder, stop)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if all(file.status for file in files):
        examples = "".join(f"; {file.name}: {file.reason}" for file in files[:3])
        found = f"found no picture in {folder}, which contains {len(files)} files{examples}"
        raise SourceError(f"{key}: {found}; put {expected} there")
    return files


def find_pictures_by_kind(path: Path, key: str) -> Iterator[tuple[Kind, LocalFile]]:
    """Yield every file in path/selfies and path/portraits, with its kind.

    Args:
        path: the folder that contains both folders.
        key: the key in params.yaml that names `path`, for error messages.

    Raises:
        SourceError: one of the two folders is missing, cannot be read, or contains no picture.
    """
    for kind in KINDS:
        for file in find_pictures(path / kind, key, f"your {kind} ({FORMATS})"):
            yield kind, file


def _inspect(path: Path, name: str) -> LocalFile:
    """Recognise a picture by its first bytes. Only regular files are opened, because a pipe or a device could block."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return LocalFile(path, name, Status.NOT_A_PICTURE, "not a regular file, but a folder, pipe or device")
        with path.open("rb") as file:
            header = file.read(HEADER_BYTES)
    except OSError as error:
        is_broken = path.is_symlink() and not path.exists()
        reason = "a symbolic link to a missing file" if is_broken else error.strerror or str(error)
        return LocalFile(path, name, Status.UNREADABLE, reason)
    is_iso_media = header[4:8] == b"ftyp"
    if sniff_format(header) or (is_iso_media and header[8:12] in ISO_MEDIA_BRANDS):
        return LocalFile(path, name)
    if is_iso_media:
        brand = plain_text(header[8:12].decode("latin-1"))
        reason = f"a video or an animation (ISO media, brand {brand!r}); allowed formats: {FORMATS}"
        return LocalFile(path, name, Status.NOT_A_PICTURE, reason)
    if path.suffix.lower() in PICTURE_SUFFIXES:
        return LocalFile(path, name)
    return LocalFile(path, name, Status.NOT_A_PICTURE, f"not a picture; allowed formats: {FORMATS}")


def printable_path(path: str) -> str:
    r"""Return a path as valid Unicode without control characters, which are replaced by escapes such as `\x0d`.

    Bytes that are not UTF-8 are replaced by escapes, too.
    """
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(char):02x}" if unicodedata.category(char) == "Cc" else char for char in text)


def normalized(name: str) -> str:
    """Return the name of a file in Unicode's form NFC, because macOS uses another form for accents."""
    return unicodedata.normalize("NFC", name)


def fetch_page(
    cache: FetchCache,
    url: str,
    advice: str,
    crawled: bool = False,
    headers: Mapping[str, str] | None = None,
    secret: Mapping[str, str] | None = None,
) -> Response:
    """Return the response of a web page or an API.

    Args:
        cache: stored responses. The URL is requested only if its response is not stored yet.
        url: the URL, without the secret query parameters.
        advice: what the user can do after a failure, for error messages.
        crawled: whether to obey robots.txt. True for pages; False for an API that is documented for programs.
        headers: additional request headers.
        secret: secret query parameters, such as an API key, that are never stored or shown.

    Raises:
        SourceError: the request failed, or the status code is not 200.
    """
    host = urlsplit(url).netloc
    try:
        response = cache.get_text(url, crawled, headers, secret)
    except FetchError as error:
        raise SourceError(f"request to {host} failed: {error.status.value}, {error}; {advice}") from None
    if response.status != HTTP_OK:
        wait = "" if response.retry_after_s is None else f", Retry-After {response.retry_after_s:.0f} s"
        body = plain_text(response.text)[:120]
        raise SourceError(f"{host} responded with status {response.status}{wait}: {body!r}; {advice}")
    return response


def fetch_json(
    cache: FetchCache,
    url: str,
    advice: str,
    headers: Mapping[str, str] | None = None,
    secret: Mapping[str, str] | None = None,
) -> Any:
    """Return the parsed JSON response of an API. The arguments are those of `fetch_page`.

    Raises:
        SourceError: the request failed, the status code is not 200, or the response is not JSON.
    """
    text = fetch_page(cache, url, advice, headers=headers, secret=secret).text
    try:
        return parse_json(text)
    except ValueError:
        cache.discard(url)
        host = urlsplit(url).netloc
        raise SourceError(f"the response of {host} is not JSON: {plain_text(text)[:120]!r}; {advice}") from None


def api_key(variable: str, advice: str) -> str:
    """Return an API key from an environment variable.

    API keys are not parameters, because parameters are written to params.yaml, dvc.lock and logs.

    Args:
        variable: name of the environment variable.
        advice: how the user can get a key, for the error message.

    Raises:
        SourceError: the variable is not set.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SourceError(f"environment variable {variable} is not set; {advice}")
    return key


def get_field(content: Any, *keys: str | int) -> Any:
    """Return the value at a path of keys and list indexes in untrusted JSON; None if the path does not exist."""
    for key in keys:
        if isinstance(content, dict) and isinstance(key, str):
            content = content.get(key)
        elif isinstance(content, list) and isinstance(key, int) and len(content) > key:
            content = content[key]
        else:
            return None
    return content


def get_list(content: Any, *keys: str | int) -> list[Any]:
    """Return the list at a path in untrusted JSON; an empty list if there is none."""
    found = get_field(content, *keys)
    return found if isinstance(found, list) else []


def get_text(content: Any, *keys: str | int) -> str:
    """Return the text or number at a path in untrusted JSON, sanitized by `plain_text`; "" if there is none."""
    found = get_field(content, *keys)
    return plain_text(str(found)) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def get_url(content: Any, *keys: str | int) -> str:
    """Return the URL at a path in untrusted JSON; "" if there is none.

    A URL such as //host/a.jpg gets the scheme https.
    """
    found = get_field(content, *keys)
    if not isinstance(found, str) or len(found) > MAX_URL_CHARS or not found.strip().isprintable():
        return ""
    found = found.strip()
    return f"https:{found}" if found.startswith("//") else found


def plain_text(text: str) -> str:
    """Return untrusted text as one line of at most 300 characters, without markup and control characters.

    Leading =, +, - and @ are removed, because spreadsheet programs would run the text as a formula.
    """
    text = re.sub(r"<[^<>]*>", " ", text)
    text = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join(text.split()).lstrip("=+-@")[:MAX_TEXT_CHARS]


def parse_json(text: str) -> Any:
    """Parse JSON or JSONP; invalid escapes, which some sites produce, are repaired.

    Raises:
        ValueError: the text is neither JSON nor JSONP.
    """
    text = text.strip().lstrip("\ufeff")
    callback = re.match(r"[\w.$]+\s*\(", text)
    if callback:
        text = text[callback.end() :].rstrip("; \n\r\t").removesuffix(")")
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except ValueError:
        repaired = re.sub(r'\\(?:(["\\/bfnrtu])|(.))', lambda found: f"\\{found[1]}" if found[1] else found[2], text)
        return json.loads(repaired, strict=False)
