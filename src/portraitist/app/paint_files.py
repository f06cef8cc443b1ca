"""Selfies on disk to avatars on disk: which files are meant, where each goes, many at once, none overwritten."""

import functools
import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path

from portraitist.app.avatar import FULL_MAX_SIDE_PX, Avatar, FaceSelection, Portraitist, RejectedError, read_selfie
from portraitist.app.compositing import OUTPUT_FORMATS, Finish, FinishError, apply_finish, encode_avatar, paste_back
from portraitist.app.video import VIDEO_SUFFIXES as FILMS
from portraitist.app.video import paint_video
from portraitist.core.files import atomic_write

MADE = dict.fromkeys(FILMS, ".mp4") | {".gif": ".gif"}  # of a clip; a picture becomes a PNG
ENDINGS_OF_FILMS = (".gif", ".mp4", ".webp")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")


class BatchError(ValueError):
    """What was asked for cannot be done as a whole; nothing was painted."""


@dataclass(frozen=True)
class Job:
    """How all selfies of a batch are painted."""

    look: Finish
    faces: FaceSelection = "each"
    paste_back: bool = False
    force: bool = False


@dataclass
class Outcome:
    """What became of one selfie: the files written, and what could not be painted; or its avatar was there before."""

    selfie: Path
    was_there: bool = False
    written: list[Path] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def expand_paths(words: Sequence[Path]) -> list[Path]:
    """The files that are meant by files, folders (the pictures in them, not deeper) and globs; each once.

    Raises:
        BatchError: A folder or a glob holds no picture, or a word is an address.
    """
    found: dict[Path, Path] = {}
    for word in words:
        if re.match(r"\w\w+:/", word.as_posix()) and not word.exists():  # a path has lost one of an address's slashes
            address = word.as_posix().replace(":/", "://", 1)
            raise BatchError(f"{address}: addresses are not read; download the picture first")
        if word.is_dir():
            here = sorted(filter(_is_picture, word.iterdir()))
        elif glob.has_magic(str(word)) and not word.exists():
            root = Path(word.anchor)
            here = [path for path in sorted(root.glob(str(word.relative_to(root)))) if _is_shown_file(path)]
        else:
            here = [word]
        if not here:
            deeper = next(filter(_is_picture, word.rglob("*")), None) if word.is_dir() else None
            read = f"; read are {' '.join((*IMAGE_SUFFIXES, *FILMS))}"
            told = f", but in {deeper.parent}: name that folder" if deeper else read
            raise BatchError(f"{word}: no pictures there{told}")
        for path in here:
            found.setdefault(path.absolute(), path)
    return list(found.values())


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *FILMS) and _is_shown_file(path)


def _is_shown_file(path: Path) -> bool:
    """Not one that macOS leaves beside a picture: ._me.jpg."""
    return path.is_file() and not path.name.startswith(".")


def check_options(selfies: Sequence[Path], job: Job) -> None:
    """Passes a job of which every option has an effect on these selfies.

    Raises:
        BatchError: One has none.
    """
    if job.paste_back and job.look != Finish():
        raise BatchError("--paste-back leaves the photo as it is: no --background, --shape or --size goes with it")
    if job.paste_back and (films := [path for path in selfies if path.suffix.lower() in FILMS]):
        raise BatchError(f"{films[0]} is a clip: --paste-back is for pictures")


def plan_outputs(selfies: Sequence[Path], out: Path | str, may_exist: bool) -> list[Path]:
    """Where each one's avatar goes: to out itself, or into it as a folder, by the selfie's name.

    A slash at its end says that it is a folder. Selfies that differ in their endings only keep them: me.heic.png.

    Raises:
        BatchError: Two would share a name, a selfie would be written over, a file is there and may not be, out's ending
            is none that is written, or it is one file for several selfies.
    """
    folder = str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    told, out = str(out), Path(out)
    if told == "-":
        raise BatchError("-o -: nothing is written to standard output; name a file or a folder")
    kinds = [ENDINGS_OF_FILMS if path.suffix.lower() in FILMS else tuple(OUTPUT_FORMATS) for path in selfies]
    if len(selfies) > 1 and not folder and out.suffix.lower() in (*OUTPUT_FORMATS, *ENDINGS_OF_FILMS):
        raise BatchError(f"{out} is one file for {len(selfies)} selfies; a folder ends in /")
    alone = len(selfies) == 1 and not folder and bool(out.suffix)
    if alone and out.suffix.lower() not in kinds[0]:
        raise BatchError(f"{out}: allowed endings are {' '.join(kinds[0])}")
    plain = [out] if alone else [out / _name(path.stem, path) for path in selfies]
    goals = [out] if alone else _distinct(selfies, plain)
    above = next(path for path in goals[0].absolute().parents if path.exists())
    if not above.is_dir():
        raise BatchError(f"{above} is no folder")
    users = {_identity(path) for path in selfies if path.exists()}
    # a plain name, too: where selfies lie beside avatars that were made of them before, which is which cannot be told
    if lost := [place for place in (*plain, *goals) if place.exists() and _identity(place) in users]:
        raise BatchError(f"{lost[0]} is one of the selfies, and none is written over")
    there = [place for place in goals if place.exists()]
    if there and not may_exist:
        raise BatchError(f"{there[0]} exists; --force writes over it")
    return goals


def _name(begin: str, selfie: Path) -> str:
    return f"{begin}{MADE.get(selfie.suffix.lower(), '.png')}"


def _distinct(selfies: Sequence[Path], plain: Sequence[Path]) -> list[Path]:
    """The plain names, or those that hold the selfie's ending, too, where several selfies would share one."""
    shared = Counter(plain)
    whose: dict[Path, Path] = {}
    for path, name in zip(selfies, plain, strict=True):
        other = whose.setdefault(name if shared[name] == 1 else name.with_name(_name(path.name, path)), path)
        if other != path:
            raise BatchError(f"{other} and {path} have the same name; paint them one by one")
    return list(whose)


def _identity(path: Path) -> tuple[int, int]:
    """What two names of one file have in common, on a disk that knows no case too."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def paint_batch(
    portraitist: Portraitist, selfies: Sequence[Path], goals: Sequence[Path], job: Job, workers: int
) -> Iterator[Outcome]:
    """Paint them all, so many at a time; the outcomes in their order."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda selfie, place: _paint(portraitist, selfie, place, job, goals), selfies, goals)


def _paint(portraitist: Portraitist, selfie: Path, place: Path, job: Job, goals: Collection[Path]) -> Outcome:
    if place.exists() and not job.force:
        return Outcome(selfie, was_there=True)
    outcome = Outcome(selfie)
    try:
        makers: dict[Path, Callable[[Path], object]]
        if selfie.suffix.lower() in FILMS:
            makers = {place: lambda path: paint_video(portraitist, selfie, path, job.look, job.force)}
        else:
            files = _files(portraitist, selfie, place, job, goals, outcome)
            makers = {path: functools.partial(_write, data, job.force) for path, data in files.items()}
        for path, make in makers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            make(path)
            outcome.written.append(path)
    except (RejectedError, FinishError, OSError) as error:
        outcome.faults.append(_told(error, selfie))
    return outcome


def _told(error: Exception, selfie: Path) -> str:
    """A fault of the output names the output."""
    if isinstance(error, OSError) and error.filename and str(error.filename) != str(selfie):
        return f"cannot write {error.filename}: {error.strerror}"
    return str(getattr(error, "strerror", None) or error)


def _files(
    portraitist: Portraitist, selfie: Path, place: Path, job: Job, goals: Collection[Path], outcome: Outcome
) -> dict[Path, bytes]:
    """The finished files of a still picture; the largest face has the place itself, the others are numbered.

    A number is passed over if another selfie of the batch has that name, or if it is the selfie.
    """
    cleaned = read_selfie(selfie, FULL_MAX_SIDE_PX) if job.paste_back else read_selfie(selfie)
    made = portraitist.paint_crops(portraitist.crops(cleaned, job.faces))
    avatars = {number: one for number, one in enumerate(made, 1) if isinstance(one, Avatar)}
    faults = {number: one for number, one in enumerate(made, 1) if isinstance(one, RejectedError)}
    if not avatars:
        raise faults[1]
    outcome.faults += [f"face {number}: {error}" for number, error in faults.items()]
    form = OUTPUT_FORMATS[place.suffix.lower()]
    if job.paste_back:
        return {place: encode_avatar(paste_back(cleaned.picture, list(avatars.values())), form)}
    numbered = (place.with_stem(f"{place.stem}-{number}") for number in count(2))
    free = (name for name in numbered if name not in goals and not (name.exists() and name.samefile(selfie)))
    names = [place, *islice(free, len(made) - 1)]
    return {names[number - 1]: encode_avatar(apply_finish(one, job.look), form) for number, one in avatars.items()}


def _write(data: bytes, force: bool, place: Path) -> None:
    with atomic_write(place, overwrite=force) as partial:
        partial.write_bytes(data)
