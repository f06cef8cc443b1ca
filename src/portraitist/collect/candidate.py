"""Candidates: what a source knows about a picture before `collector` reads or downloads it."""

from collections.abc import Callable
from dataclasses import dataclass

from portraitist.core.manifest import Kind
from portraitist.core.outcome import Status


class SourceError(RuntimeError):
    """A source cannot provide pictures; the message says what was found and what the user can do."""


@dataclass(frozen=True)
class Candidate:
    """A picture that a source found, and its metadata; unknown texts are ""."""

    kind: Kind
    name: str = ""
    read: Callable[[], bytes] | None = None  # reads a local file; if None, the picture is downloaded from `url`
    url: str = ""
    others: tuple[str, ...] = ()  # URLs of other copies, tried in this order if `url` fails
    page_url: str = ""  # the page that contains the picture
    query: str = ""  # the search that found the picture
    licence: str = ""
    licence_url: str = ""
    author: str = ""
    group: str = ""  # name of the group: the pictures of one person or artist
    pair: str = ""  # identifies a selfie and a portrait of the same person; equal in both pictures
    consent: str = ""  # date and scope of the person's consent
    truth: Callable[[], bytes] | None = None  # reads an exact person mask as PNG, used for evaluation only
    status: Status | None = None  # set if the source rejects the picture
    reason: str = ""  # why the source rejects the picture
