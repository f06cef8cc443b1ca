"""Where candidates come from: one file a source, found by its name, each with `candidates(params)`."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from portraitist.manifest import KINDS, Kind
from portraitist.params import CollectParams

ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}


class SourceError(RuntimeError):
    """A source cannot give what it should; the message says what was found and what to do."""


@dataclass(frozen=True)
class Candidate:
    """A picture that was found: its bytes, and what is known of where they come from.

    `group` names the person or artist, if known; `truth` is an exact person mask, for evaluation only.
    """

    kind: Kind
    name: str
    data: bytes
    licence: str = ""
    author: str = ""
    url: str = ""
    group: str = ""
    truth: bytes | None = None


def names() -> list[str]:
    """The sources there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def source(name: str) -> Callable[[CollectParams], Iterator[Candidate]]:
    """The `candidates` of sources/<name>.py.

    Raises:
        SourceError: There is no such file.
    """
    if name not in names():
        raise SourceError(f"no source {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{name}").candidates


def pictures_in(folder: Path, limit: int) -> list[Path]:
    """The first so many picture files below a folder, by name.

    Raises:
        SourceError: The folder is missing or holds no picture file.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is no folder; give the folder that holds your pictures")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    if not found:
        raise SourceError(f"{folder} holds no picture; files that end in {', '.join(sorted(ENDINGS))} are read")
    return found[:limit]


def folders(params: CollectParams) -> Iterator[tuple[Kind, Path, Path]]:
    """Each kind's pictures: (kind, its folder, a file in it)."""
    for kind in KINDS:
        folder: Path = getattr(params, kind)
        for path in pictures_in(folder, params.limit):
            yield kind, folder, path
