"""What must not come in, or not again: one line an entry, by address, host, bytes, looks or subject.

    url:https://example.org/a.jpg    this very address, whatever stands behind its #
    host:example.org                 every address of this host and of those below it
    sha256:ba7816bf8f01cfea          these very bytes: at least the 16 digits of a picture's id
    dhash:00ff00ff00ff00ff:4         every picture whose difference hash differs in at most 4 of 64 bits
    subject:selfies/anna             every picture of this group (a person, an artist) and of those below it

An empty line and one that begins with # say nothing.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

MAX_BITS = 16  # a hash that is farther off is another picture's


class BlocklistError(ValueError):
    """A line that says nothing that could be kept to; the message names its number, what it says, what is allowed."""


@dataclass(frozen=True)
class Blocklist:
    """The entries of a list, ready to be asked."""

    entries: frozenset[str] = frozenset()  # each in its one form

    @classmethod
    def read(cls, path: Path, missing_ok: bool = True) -> "Blocklist":
        """The list in a file; a file that is missing is an empty list, if it may be.

        Raises:
            BlocklistError: A line is malformed, or the file is no text.
            FileNotFoundError: There is no file, and there must be.
        """
        if missing_ok and not path.exists():
            return cls()
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise BlocklistError(f"{path}: not a text in UTF-8") from error
        return cls.of(lines, str(path))

    @classmethod
    def of(cls, lines: Iterable[str], name: str = "blocklist") -> "Blocklist":
        """The list in these lines; `name` is what an error calls them.

        Raises:
            BlocklistError: A line is malformed.
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
    def hashes(self) -> list[tuple[int, int]]:
        """Each difference hash, and within how many bits it blocks."""
        told = sorted(one.split(":") for one in self.entries if one.startswith("dhash:"))
        return [(int(hashed, 16), int(bits)) for _, hashed, bits in told]

    def why(self, urls: Iterable[str] = (), sha256: str = "", dhashes: Iterable[int] = (), group: str = "") -> str:
        """The entry that blocks a picture of which this is known, as it would stand in the list; "" if none does.

        Ask before the fetch with its addresses and its group, after it with its bytes' digest (all 64 digits), and
        when it is decoded with its difference hashes (its own, and its mirror image's).
        """
        for name in (*_of_urls(urls), *_of_bytes(sha256), *_of_group(group)):
            if name in self.entries:
                return name
        for hashed in dhashes:
            for theirs, bits in self.hashes:
                if (hashed ^ theirs).bit_count() <= bits:
                    return f"dhash:{theirs:016x}:{bits}"
        return ""


def add(path: Path, entries: Iterable[str], because: str) -> list[str]:
    """Append those entries that the file does not hold yet, under a comment that says why; gives what was new.

    Raises:
        BlocklistError: The file or an entry is malformed; nothing is written.
    """
    held = Blocklist.read(path).entries
    fresh = list(dict.fromkeys(one for one in map(entry, entries) if one not in held))
    if fresh:
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        end = "" if before.endswith("\n") or not before else "\n"
        partial = path.with_name(f"{path.name}.partial")
        text = f"{before}{end}# {' '.join(because.split())}\n" + "".join(f"{one}\n" for one in fresh)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return fresh


def entry(line: str) -> str:
    """A line in the one form in which lists are compared.

    Raises:
        BlocklistError: The line is malformed.
    """
    kind, colon, value = line.strip().partition(":")
    if not colon or kind not in KINDS:
        known = ", ".join(f"{one}:" for one in KINDS)
        raise BlocklistError(f"{line.strip()!r}; an entry begins with {known}")
    if not value.strip():
        raise BlocklistError(f"{kind}: is empty")
    return f"{kind}:{KINDS[kind](value.strip())}"


def _of_urls(urls: Iterable[str]) -> Iterator[str]:
    """All entries that an address is blocked by: itself, its host, and those above it."""
    for url in urls:
        try:
            address = _url(url)
            host = _ascii((urlsplit(address).hostname or "").rstrip("."))
        except ValueError:
            continue  # no address at all: nothing could be fetched from it
        yield f"url:{address}"
        parts = host.split(".")
        yield from (f"host:{'.'.join(parts[start:])}" for start in range(len(parts)))


def _of_bytes(sha256: str) -> Iterator[str]:
    yield from (f"sha256:{sha256[:length].lower()}" for length in range(len(sha256), 15, -1))


def _of_group(group: str) -> Iterator[str]:
    parts = _subject(group).split("/")
    yield from (f"subject:{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1))


def _url(value: str) -> str:
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc:
        raise BlocklistError(f"url:{value}; a whole address was expected, such as https://example.org/a.jpg")
    return parts._replace(scheme=parts.scheme.lower(), netloc=parts.netloc.lower(), fragment="").geturl()


def _host(value: str) -> str:
    host = value.lower().rstrip(".")
    if not re.fullmatch(r"[^\s/:@#?]+", host):
        raise BlocklistError(f"host:{value}; a name such as example.org was expected")
    return _ascii(host)


def _ascii(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{16,64}", value):
        raise BlocklistError(f"sha256:{value}; 16 to 64 hexadecimal digits were expected")
    return value.lower()


def _dhash(value: str) -> str:
    found = re.fullmatch(r"([0-9a-fA-F]{16}):(\d{1,2})", value)
    if not found or int(found[2]) > MAX_BITS:
        raise BlocklistError(f"dhash:{value}; 16 hexadecimal digits, a colon, and 0 to {MAX_BITS} bits were expected")
    return f"{found[1].lower()}:{int(found[2])}"


def _subject(value: str) -> str:
    return unicodedata.normalize("NFC", value).casefold().strip("/")


KINDS: dict[str, Callable[[str], str]] = {
    "url": _url,
    "host": _host,
    "sha256": _sha256,
    "dhash": _dhash,
    "subject": _subject,
}
