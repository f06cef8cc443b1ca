"""Where candidates come from: one file a source, found by its name, each with `candidates(params, ask)`.

A source says where pictures are (an address, or a way to read a file) and what is known of them; `collect` brings
them. One with `parts(candidate, data, params)` may make several pictures of one. What a source must ask the web for
itself, result pages and interfaces, goes through `ask`: guarded, polite, and kept, so that a run that was killed asks
nothing twice. A site that refuses is an error that says what was seen and what to do, never an empty folder. Nothing
here solves a captcha, computes a signature or passes for a browser.
"""

import importlib
import json
import os
import pkgutil
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import Response
from portraitist.collect.ssrf import FetchError
from portraitist.core.manifest import KINDS, Kind
from portraitist.core.outcome import Status

PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
MAX_WORDS = 300
MAX_ADDRESS = 4096


class SourceError(RuntimeError):
    """A source cannot give what it should; the message says what was found and what to do."""


@dataclass(frozen=True)
class Candidate:
    """A picture that was found: where its bytes are, and what is known of it.

    Bytes come by `read` or from `url`, and from `others` if the address does not answer. `group` names the person or
    artist, `pair` what the other picture of a pair is named by, too; `truth` reads an exact person mask, for evaluation
    only. One with a status was refused by its source already.
    """

    kind: Kind
    name: str = ""
    read: Callable[[], bytes] | None = None
    url: str = ""
    others: tuple[str, ...] = ()
    page_url: str = ""
    query: str = ""
    licence: str = ""
    licence_url: str = ""
    author: str = ""
    group: str = ""
    pair: str = ""
    consent: str = ""
    truth: Callable[[], bytes] | None = None
    status: Status | None = None
    reason: str = ""


def names() -> list[str]:
    """The sources there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load_source(name: str) -> ModuleType:
    """The file sources/<name>.py.

    Raises:
        SourceError: There is none.
    """
    if name not in names():
        raise SourceError(f"no source {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}")


def find_pictures(folder: Path) -> list[Path]:
    """The picture files below a folder, by name.

    Raises:
        SourceError: The folder is missing or holds no picture file.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; give the folder that holds your pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    if not found:
        raise SourceError(
            f"{folder} holds no picture; files that end in {', '.join(sorted(PICTURE_SUFFIXES))} are read"
        )
    return found


def find_pictures_by_kind(path: Path) -> Iterator[tuple[Kind, Path, Path]]:
    """The pictures in path/selfies and path/portraits: (kind, its folder, a file in it)."""
    for kind in KINDS:
        for file in find_pictures(path / kind):
            yield kind, path / kind, file


def request(
    ask: FetchCache,
    url: str,
    do: str,
    crawled: bool = False,
    headers: Mapping[str, str] | None = None,
    secret: Mapping[str, str] | None = None,
) -> Response:
    """An interface's or page's answer of status 200. `do` is what the user is told to do about another.

    Raises:
        SourceError: There is no such answer.
    """
    host = urlsplit(url).netloc
    try:
        answer = ask.text(url, crawled, headers, secret)
    except FetchError as error:
        raise SourceError(f"{host} gave nothing: {error.status.value}, {error}; {do}") from None
    if answer.status != 200:
        wait = "" if answer.retry_after_s is None else f", and asks to be left alone for {answer.retry_after_s:.0f} s"
        raise SourceError(f"{host} answered with status {answer.status}{wait}: {plain_text(answer.text)[:120]!r}; {do}")
    return answer


def request_json(
    ask: FetchCache,
    url: str,
    do: str,
    headers: Mapping[str, str] | None = None,
    secret: Mapping[str, str] | None = None,
) -> Any:
    """An interface's answer, read.

    Raises:
        SourceError: There is no such answer, or it is no JSON.
    """
    text = request(ask, url, do, headers=headers, secret=secret).text
    try:
        return parse_json(text)
    except ValueError:
        ask.forget(url)
        raise SourceError(f"{urlsplit(url).netloc} answered with no JSON: {plain_text(text)[:120]!r}; {do}") from None


def api_key(variable: str, what: str) -> str:
    """A key from the environment: it stands in no params file, no log and no lock file.

    Raises:
        SourceError: There is none.
    """
    key = os.environ.get(variable, "").strip()
    if not key:
        raise SourceError(f"{variable} is not set in the environment; {what}")
    return key


def get_field(content: Any, *keys: str | int) -> Any:
    """What stands at a path in strangers' JSON; None if it is not there, whatever stands in its place."""
    for key in keys:
        if isinstance(content, dict) and isinstance(key, str):
            content = content.get(key)
        elif isinstance(content, list) and isinstance(key, int) and len(content) > key:
            content = content[key]
        else:
            return None
    return content


def get_list(content: Any, *keys: str | int) -> list[Any]:
    """The list at a path in strangers' JSON; empty if there is none."""
    found = get_field(content, *keys)
    return found if isinstance(found, list) else []


def get_text(content: Any, *keys: str | int) -> str:
    """The text at a path in strangers' JSON, made plain; "" if there is none."""
    found = get_field(content, *keys)
    return plain_text(str(found)) if isinstance(found, str | int | float) and not isinstance(found, bool) else ""


def get_url(content: Any, *keys: str | int) -> str:
    """The address at a path in strangers' JSON; "" if there is none."""
    found = get_field(content, *keys)
    if not isinstance(found, str) or len(found) > MAX_ADDRESS or not found.strip().isprintable():
        return ""
    found = found.strip()
    return f"https:{found}" if found.startswith("//") else found


def plain_text(text: str) -> str:
    """Strangers' words as one short line: no markup, no control characters, nothing that a spreadsheet would reckon."""
    text = re.sub(r"<[^<>]*>", " ", text)
    text = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text)
    return " ".join(text.split()).lstrip("=+-@")[:MAX_WORDS]


def parse_json(text: str) -> Any:
    """The JSON in a text that may be JSONP, and may hold the bad escapes that some sites write.

    Raises:
        ValueError: There is none.
    """
    text = text.strip().lstrip("\ufeff")
    wrapped = re.match(r"[\w.$]+\s*\(", text)
    if wrapped:
        text = text[wrapped.end() :].rstrip("; \n\r\t").removesuffix(")")
    try:
        return json.loads(text, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        mended = re.sub(r'\\(?:(["\\/bfnrtu])|(.))', lambda found: f"\\{found[1]}" if found[1] else found[2], text)
        return json.loads(mended, strict=False)
