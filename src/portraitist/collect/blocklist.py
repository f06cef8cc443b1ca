"""The blocklist: pictures that must not be collected, by URL, host, SHA-256, difference hash or group.

A group is the pictures of one person or artist. Its name, such as selfies/anna, is in column `group` of the manifest.
Groups can be nested like folders: the group selfies/anna/2024 is part of the group selfies/anna. Entries for groups
begin with `subject:`.

The blocklist is a text file with one entry per line:

    url:https://example.org/a.jpg    this URL, also if it is escaped differently; a fragment after # is ignored
    host:example.org                 every URL of this host and of its subdomains
    sha256:ba7816bf8f01cfea          every file whose hash begins with these digits (16 to 64)
    dhash:00ff00ff00ff00ff:4         every picture whose difference hash differs in at most 4 of its 64 bits
    subject:selfies/anna             every picture whose group is selfies/anna or part of it

Empty lines and lines that begin with # are ignored. No library is used, because only this project has this format.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urlsplit

from portraitist.core.files import write_file

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_HAMMING_DISTANCE = 16  # largest distance allowed in an entry; hashes that differ more are of different pictures


class BlocklistError(ValueError):
    """A line is malformed; the message contains the line's number, its text and the allowed format."""


@dataclass(frozen=True)
class Blocklist:
    """A set of entries, each of which blocks one or several pictures."""

    entries: frozenset[str] = frozenset()  # normalized

    @classmethod
    def read(cls, path: Path, missing_ok: bool = True) -> "Blocklist":
        """Read a blocklist from a file; if `missing_ok`, a missing file gives an empty blocklist.

        Raises:
            BlocklistError: a line is malformed, or the file is not UTF-8.
            FileNotFoundError: the file is missing, and `missing_ok` is false.
        """
        if missing_ok and not path.exists():
            return cls()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise BlocklistError(f"{path}: not a UTF-8 text file") from error
        return cls.of(lines, str(path))

    @classmethod
    def of(cls, lines: Iterable[str], name: str = "blocklist") -> "Blocklist":
        """Parse the lines of a blocklist; errors name the file as `name`.

        Raises:
            BlocklistError: a line is malformed.
        """
        entries = set()
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.lstrip().startswith("#"):
                try:
                    entries.add(entry(line))
                except BlocklistError as error:
                    raise BlocklistError(f"{name}, line {number}: {error}") from None
        return cls(frozenset(entries))

    @cached_property
    def dhashes(self) -> list[tuple[int, int]]:
        """Pairs (difference hash, largest Hamming distance in bits) of all entries that begin with `dhash:`."""
        fields = sorted(line.split(":") for line in self.entries if line.startswith("dhash:"))
        return [(int(dhash, 16), int(distance)) for _, dhash, distance in fields]

    def why(self, urls: Iterable[str] = (), sha256: str = "", dhashes: Iterable[int] = (), group: str = "") -> str:
        """Return the normalized entry that blocks a picture; "" if no entry blocks it.

        Each argument may be omitted if it is not known yet.

        Args:
            urls: all URLs of the picture and of the page that contains it.
            sha256: all 64 hexadecimal digits of the hash of the file's bytes.
            dhashes: difference hashes of the decoded picture and of its mirror image.
            group: name of the picture's group, such as "selfies/anna".
        """
        for candidate in (*_url_entries(urls), *_sha256_entries(sha256), *_subject_entries(group)):
            if candidate in self.entries:
                return candidate
        for dhash in dhashes:
            for blocked, max_distance in self.dhashes:
                if (dhash ^ blocked).bit_count() <= max_distance:
                    return f"dhash:{blocked:016x}:{max_distance}"
        return ""


def add(path: Path, entries: Iterable[str], reason: str) -> list[str]:
    """Append entries to a blocklist, below a comment with the reason.

    Returns:
        The normalized entries that were appended; entries that the file already contains are left out.

    Raises:
        BlocklistError: the file or an entry is malformed; nothing is written.
    """
    existing = Blocklist.read(path).entries
    new = list(dict.fromkeys(normalized for normalized in map(entry, entries) if normalized not in existing))
    if new:
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        newline = "" if text.endswith("\n") or not text else "\n"
        lines = [f"# {' '.join(reason.split())}", *new]
        write_file(path, text + newline + "".join(f"{line}\n" for line in lines))
    return new


def entry(line: str) -> str:
    """Parse a line, and return it in a normalized form, in which equivalent entries are equal strings.

    Raises:
        BlocklistError: the line is malformed.
    """
    kind, colon, value = line.strip().partition(":")
    if not colon or kind not in KINDS:
        allowed = ", ".join(f"{kind}:" for kind in KINDS)
        raise BlocklistError(f"{line.strip()!r}: an entry must begin with one of {allowed}")
    if not value.strip():
        raise BlocklistError(f"'{kind}:' has no value; expected a value after the colon")
    return f"{kind}:{KINDS[kind](value.strip())}"


def percent_encode(part: str) -> str:
    """Percent-encode the characters that a path or query may not contain, and leave existing escapes unchanged."""
    return quote(part, safe="/%:;=&?~+!$,'@()*[]|")


def _url_entries(urls: Iterable[str]) -> Iterator[str]:
    """Yield all entries that would block one of these URLs: the URL, its host and the host's parent domains."""
    for url in urls:
        try:
            normalized = _url(url)
            host = urlsplit(normalized).hostname or ""
        except ValueError:
            continue  # a malformed URL cannot be requested either
        yield f"url:{normalized}"
        labels = host.split(".")
        yield from (f"host:{'.'.join(labels[start:])}" for start in range(len(labels)))


def _sha256_entries(sha256: str) -> Iterator[str]:
    yield from (f"sha256:{sha256[:length].lower()}" for length in range(len(sha256), 15, -1))


def _subject_entries(group: str) -> Iterator[str]:
    levels = _subject(group).split("/")
    yield from (f"subject:{'/'.join(levels[:end])}" for end in range(len(levels), 0, -1))


def _url(value: str) -> str:
    """Normalize a URL (RFC 3986, section 6.2), as far as this is possible without requesting it."""
    try:
        parts = urlsplit(value)
        port = parts.port  # raises a ValueError if it is not a number from 0 to 65535
        path, query = _normalized(parts.path), _normalized(parts.query)
    except ValueError as error:
        raise BlocklistError(f"url:{value}; {error}") from None
    if not parts.scheme or not parts.hostname:
        raise BlocklistError(f"url:{value}; expected a complete URL such as https://example.org/a.jpg")
    host = _to_ascii(parts.hostname.rstrip("."))
    netloc = f"[{host}]" if ":" in host else host
    if port not in (None, DEFAULT_PORTS.get(parts.scheme)):
        netloc += f":{port}"
    return parts._replace(netloc=netloc, path=_without_dots(path), query=query, fragment="").geturl()


def _normalized(part: str) -> str:
    """Return a path or a query in which each character is escaped only if it must be, in capital letters."""
    part = re.sub(r"%(?![0-9a-fA-F]{2})", "%25", part)
    return re.sub(r"%[0-9a-fA-F]{2}", _shortest, percent_encode(part))


def _shortest(escape: re.Match[str]) -> str:
    character = chr(int(escape[0][1:], 16))
    return character if re.fullmatch(r"[\w.~!$'()*,:@\[\]|-]", character, re.ASCII) else escape[0].upper()


def _without_dots(path: str) -> str:
    """Resolve the segments . and .. of a path (RFC 3986, section 5.2.4)."""
    segments: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            segments[-1:] = []
        elif segment != ".":
            segments.append(segment)
    ending = "/" if segments and path.endswith(("/.", "/..")) else ""
    return f"/{'/'.join(segments)}{ending}"


def _host(value: str) -> str:
    host = value.lower().rstrip(".")
    if not re.fullmatch(r"[^\s/:@#?]+", host):
        raise BlocklistError(f"host:{value}; expected a host name such as example.org")
    return _to_ascii(host)


def _to_ascii(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{16,64}", value):
        raise BlocklistError(f"sha256:{value}; expected 16 to 64 hexadecimal digits")
    return value.lower()


def _dhash(value: str) -> str:
    match = re.fullmatch(r"([0-9a-fA-F]{16}):(\d{1,2})", value)
    if not match or int(match[2]) > MAX_HAMMING_DISTANCE:
        raise BlocklistError(
            f"dhash:{value}; expected 16 hexadecimal digits, a colon and a Hamming distance of 0 to "
            f"{MAX_HAMMING_DISTANCE} bits"
        )
    return f"{match[1].lower()}:{int(match[2])}"


def _subject_entry(value: str) -> str:
    subject = _subject(value)
    if not subject:
        raise BlocklistError(f"subject:{value}; expected the name of a group such as selfies/anna")
    return subject


def _subject(value: str) -> str:
    return unicodedata.normalize("NFC", value).casefold().strip("/")


KINDS: dict[str, Callable[[str], str]] = {
    "url": _url,
    "host": _host,
    "sha256": _sha256,
    "dhash": _dhash,
    "subject": _subject_entry,
}
