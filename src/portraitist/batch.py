"""Selfies on disk to avatars on disk: which files are meant, where each goes, many at once, none overwritten."""

import functools
import glob
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from portraitist.avatar import WHOLE_SIDE_PX, Avatar, Faces, Portraitist, RefusedError, read_selfie
from portraitist.look import FORMATS, Look, LookError, dressed, encoded, pasted
from portraitist.video import ENDINGS as FILMS
from portraitist.video import paint_film
from portraitist.whole import whole

MADE = dict.fromkeys(FILMS, ".mp4") | {".gif": ".gif"}  # of a clip; a picture becomes a PNG
STILLS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")


class BatchError(ValueError):
    """What was asked for cannot be done as a whole; nothing was painted."""


@dataclass(frozen=True)
class Job:
    """How all selfies of a batch are painted."""

    look: Look
    faces: Faces = "each"
    paste_back: bool = False
    force: bool = False


@dataclass
class Outcome:
    """What became of one selfie: the files written, and what could not be painted."""

    selfie: Path
    written: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def find(words: Sequence[Path]) -> list[Path]:
    """The files that are meant by files, folders (the pictures in them) and globs.

    Raises:
        BatchError: A folder or a glob holds no picture.
    """
    found: list[Path] = []
    for word in words:
        if word.is_dir():
            here = [path for path in sorted(word.iterdir()) if path.suffix.lower() in (*STILLS, *FILMS)]
        elif glob.has_magic(str(word)) and not word.exists():
            root = Path(word.anchor)
            here = sorted(path for path in root.glob(str(word.relative_to(root))) if path.is_file())
        else:
            here = [word]
        if not here:
            raise BatchError(f"{word}: no pictures there; read are {' '.join((*STILLS, *FILMS))}")
        found += here
    return found


def places(selfies: Sequence[Path], out: Path, force: bool) -> list[Path]:
    """Where each one's avatar goes: to out itself, or into it as a folder, by the selfie's name.

    Raises:
        BatchError: Two would share a name, a file is there already, or its ending is none that is written.
    """
    alone = len(selfies) == 1 and not out.is_dir() and bool(out.suffix)
    kinds = [(".gif", ".mp4", ".webp") if path.suffix.lower() in FILMS else tuple(FORMATS) for path in selfies]
    if alone and out.suffix.lower() not in kinds[0]:
        raise BatchError(f"{out}: allowed endings are {' '.join(kinds[0])}")
    goals = [out] if alone else [out / f"{path.stem}{MADE.get(path.suffix.lower(), '.png')}" for path in selfies]
    if len(set(goals)) < len(goals):
        raise BatchError("two selfies have the same name; paint them one by one")
    there = [place for place in goals if place.exists()]
    if there and not force:
        raise BatchError(f"{there[0]} exists; --force writes over it")
    return goals


def paint_batch(
    portraitist: Portraitist, selfies: Sequence[Path], goals: Sequence[Path], job: Job, workers: int
) -> Iterator[Outcome]:
    """Paint them all, so many at a time; the outcomes in their order."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda selfie, place: _paint(portraitist, selfie, place, job, goals), selfies, goals)


def _paint(portraitist: Portraitist, selfie: Path, place: Path, job: Job, goals: Collection[Path]) -> Outcome:
    outcome = Outcome(selfie)
    try:
        makers: dict[Path, Callable[[Path], object]]
        if selfie.suffix.lower() in FILMS:
            makers = {place: lambda path: paint_film(portraitist, selfie, path, job.look, job.force)}
        else:
            files = _files(portraitist, selfie, place, job, goals, outcome)
            makers = {path: functools.partial(_write, data, job.force) for path, data in files.items()}
        for path, make in makers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            outcome.written.append(path)
    except (RefusedError, LookError, OSError) as error:
        outcome.faults.append(str(getattr(error, "strerror", None) or error))
    return outcome


def _files(
    portraitist: Portraitist, selfie: Path, place: Path, job: Job, goals: Collection[Path], outcome: Outcome
) -> dict[Path, bytes]:
    """The finished files of a still picture; the largest face has the place itself, the others are numbered.

    A number is passed over if another selfie of the batch has that name.
    """
    cleaned = read_selfie(selfie, WHOLE_SIDE_PX) if job.paste_back else read_selfie(selfie)
    made = portraitist.paint_crops(portraitist.crops(cleaned, job.faces))
    avatars = {number: one for number, one in enumerate(made, 1) if isinstance(one, Avatar)}
    faults = {number: one for number, one in enumerate(made, 1) if isinstance(one, RefusedError)}
    if not avatars:
        raise faults[1]
    outcome.faults += [f"face {number}: {error}" for number, error in faults.items()]
    form = FORMATS[place.suffix.lower()]
    if job.paste_back:
        return {place: encoded(pasted(cleaned.picture, list(avatars.values())), form)}
    numbered = (place.with_stem(f"{place.stem}-{number}") for number in count(2))
    names = [place, *islice((name for name in numbered if name not in goals), len(made) - 1)]
    return {names[number - 1]: encoded(dressed(one, job.look), form) for number, one in avatars.items()}


def _write(data: bytes, force: bool, place: Path) -> None:
    with whole(place, force) as partial:
        partial.write_bytes(data)
