"""The candidates that a source yields; `collector` fetches their pictures."""

from collections.abc import Callable
from dataclasses import dataclass

from portraitist.core.manifest import Kind
from portraitist.core.outcome import Status


class SourceError(RuntimeError):
    """A source cannot provide pictures; the message states what was found and what to do."""


@dataclass(frozen=True)
class Candidate:
    """A picture that a source found, and its metadata.

    The bytes come from `read`, or from `url`, or from the first of `others` that responds if `url` fails. `group`
    identifies the person or artist. `pair` is shared by the two pictures of a selfie-portrait pair. `truth` reads an
    exact person mask, which is used for evaluation only. A candidate with a `status` is rejected by its source, for
    `reason`.
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
