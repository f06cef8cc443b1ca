"""Paint files: expand arguments to input files, choose output paths, and paint in parallel without overwriting."""

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
from typing import NamedTuple

from PIL import Image

from portraitist.app.avatar import DEFAULT_SIZE_PX, MAX_PAINTED_PX, Avatar, FaceSelection, Portraitist, RejectedError
from portraitist.app.compositing import OUTPUT_FORMATS, Finish, FinishError, apply_finish, encode_avatar, paste_back
from portraitist.app.selfie import FULL_MAX_SIDE_PX, read_selfie
from portraitist.app.video import VIDEO_SUFFIXES, paint_video
from portraitist.clean.decode import READABLE_FORMATS
from portraitist.core.files import atomic_write

CLIP_SUFFIXES = dict.fromkeys(VIDEO_SUFFIXES, ".mp4") | {".gif": ".gif"}  # of painted clips, by the clip's suffix
VIDEO_OUTPUT_SUFFIXES = (".gif", ".mp4", ".webp")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")


class BatchError(ValueError):
    """Invalid arguments; nothing was painted."""


class Inputs(NamedTuple):
    """The files to paint, and the files in folders that were skipped."""

    selfies: list[Path]
    skipped: list[Path]


@dataclass(frozen=True)
class PaintOptions:
    """Options of one run of `portraitist paint`."""

    finish: Finish
    faces: FaceSelection = "each"
    paste_back: bool = False
    force: bool = False


@dataclass
class PaintResult:
    """The result for one selfie: files written and errors, or `existed` if the avatar was there already."""

    selfie: Path
    existed: bool = False
    written: list[Path] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def expand_paths(arguments: Sequence[Path]) -> Inputs:
    """Expand files, folders (not recursively) and glob patterns to input files, each listed once.

    Pictures in a folder are recognised by suffix, or by content if the suffix is unknown (a `.jfif` is a JPEG). Hidden
    files, such as those that macOS creates for each picture, are ignored.

    Raises:
        BatchError: a folder or a pattern matches no picture, or an argument is a URL.
    """
    selfies: dict[Path, Path] = {}
    skipped: list[Path] = []
    for argument in arguments:
        if re.match(r"\w\w+:/", argument.as_posix()) and not argument.exists():  # Path collapses the double slash
            url = argument.as_posix().replace(":/", "://", 1)
            raise BatchError(f"{url}: URLs are not supported; download the picture first")
        if argument.is_dir():
            visible = [path for path in sorted(argument.iterdir()) if not path.name.startswith(".")]
            matches = [path for path in visible if _is_selfie(path)]
            skipped += [path for path in visible if path not in matches]
        elif glob.has_magic(str(argument)) and not argument.exists():
            root = Path(argument.anchor)
            matches = [path for path in sorted(root.glob(str(argument.relative_to(root)))) if _is_visible_file(path)]
        else:
            matches = [argument]
        if not matches:
            deeper = next(filter(_is_selfie, argument.rglob("*")), None) if argument.is_dir() else None
            hint = f"supported are {' '.join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))}"
            if deeper:
                hint = f"there are some in {deeper.parent}; folders are not searched recursively, so pass that folder"
            raise BatchError(f"{argument}: no pictures found; {hint}")
        for path in matches:
            selfies.setdefault(path.absolute(), path)
    return Inputs(list(selfies.values()), skipped)


def _is_selfie(path: Path) -> bool:
    if not _is_visible_file(path):
        return False
    return path.suffix.lower() in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) or _is_picture(path)


def _is_picture(path: Path) -> bool:
    """Return whether a file has the header of a picture."""
    try:
        with Image.open(path, formats=READABLE_FORMATS):
            return True
    except Exception:  # Pillow's readers raise a dozen kinds of exceptions
        return False


def _is_clip(path: Path) -> bool:
    """Return whether a file is painted as a clip: by its suffix, but a GIF of one frame is a picture."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES and not (suffix == ".gif" and _is_still(path))


def _is_still(path: Path) -> bool:
    try:
        with Image.open(path, formats=["GIF"]) as picture:
            return not getattr(picture, "is_animated", False)
    except Exception:  # as in _is_picture
        return False


def _is_visible_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def check_options(selfies: Sequence[Path], options: PaintOptions) -> None:
    """Check that every option has an effect on these selfies.

    Raises:
        BatchError: an option would be ignored.
    """
    if options.paste_back and options.finish != Finish():
        raise BatchError(
            "--paste-back outputs the whole photo; it cannot be combined with --background, --shape or --size"
        )
    if options.paste_back and (clips := [path for path in selfies if _is_clip(path)]):
        raise BatchError(f"{clips[0]} is a clip; --paste-back is for pictures only")


def plan_outputs(selfies: Sequence[Path], out: Path | str, may_exist: bool) -> list[Path]:
    """Return the output path of each selfie: `out` itself, or a file in the folder `out` named after the selfie.

    A trailing slash marks a folder. If the names of selfies differ only in the suffix, outputs keep it: me.heic.png.

    Raises:
        BatchError: two outputs would have the same name, a selfie would be overwritten, a file exists and `may_exist`
            is False, the suffix of `out` is not supported, or `out` is one file for several selfies.
    """
    is_folder = str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    if str(out) == "-":
        raise BatchError("-o -: writing to standard output is not supported; name a file or a folder")
    out = Path(out)
    allowed = [VIDEO_OUTPUT_SUFFIXES if _is_clip(path) else tuple(OUTPUT_FORMATS) for path in selfies]
    if len(selfies) > 1 and not is_folder and out.suffix.lower() in (*OUTPUT_FORMATS, *VIDEO_OUTPUT_SUFFIXES):
        raise BatchError(f"{out} is one file for {len(selfies)} selfies; for a folder, append a slash: -o {out}/")
    is_single = len(selfies) == 1 and not is_folder and bool(out.suffix)
    if is_single and out.suffix.lower() not in allowed[0]:
        raise BatchError(f"{out}: suffix {out.suffix!r} is not supported; allowed are {' '.join(allowed[0])}")
    short_names = [out] if is_single else [out / _output_name(path.stem, path) for path in selfies]
    outputs = [out] if is_single else _disambiguate(selfies, short_names)
    parent = next(path for path in outputs[0].absolute().parents if path.exists())
    if not parent.is_dir():
        raise BatchError(f"{parent} is not a folder")
    inputs = {_file_id(path) for path in selfies if path.exists()}
    # also check the short names: in a folder with selfies and avatars of an earlier run, they look the same
    if lost := [path for path in (*short_names, *outputs) if path.exists() and _file_id(path) in inputs]:
        raise BatchError(f"{lost[0]} is one of the selfies, which are never overwritten; choose another output")
    existing = [path for path in outputs if path.exists()]
    if existing and not may_exist:
        raise BatchError(f"{existing[0]} exists; --force overwrites it")
    return outputs


def _output_name(stem: str, selfie: Path) -> str:
    return f"{stem}{CLIP_SUFFIXES[selfie.suffix.lower()] if _is_clip(selfie) else '.png'}"


def _disambiguate(selfies: Sequence[Path], short_names: Sequence[Path]) -> list[Path]:
    """Return the short names; to a name that several selfies share, the suffix of each selfie is added."""
    counts = Counter(short_names)
    owners: dict[Path, Path] = {}
    for path, name in zip(selfies, short_names, strict=True):
        unique = name if counts[name] == 1 else name.with_name(_output_name(path.name, path))
        owner = owners.setdefault(unique, path)
        if owner != path:
            raise BatchError(f"{owner} and {path} have the same name; paint them in separate runs")
    return list(owners)


def _file_id(path: Path) -> tuple[int, int]:
    """Return an identifier of a file that is the same for all its names, even if the file system ignores case."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def paint_batch(
    portraitist: Portraitist, selfies: Sequence[Path], outputs: Sequence[Path], options: PaintOptions, workers: int
) -> Iterator[PaintResult]:
    """Paint the selfies with `workers` threads and yield the results in the order of the selfies.

    Raises:
        ModelError: the model file is damaged.
    """
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(
            lambda selfie, output: _paint(portraitist, selfie, output, options, outputs), selfies, outputs
        )


def _paint(
    portraitist: Portraitist, selfie: Path, output: Path, options: PaintOptions, outputs: Collection[Path]
) -> PaintResult:
    if output.exists() and not options.force:
        return PaintResult(selfie, existed=True)
    result = PaintResult(selfie)
    try:
        writers: dict[Path, Callable[[Path], object]]
        if _is_clip(selfie):
            writers = {output: lambda path: paint_video(portraitist, selfie, path, options.finish, options.force)}
        else:
            files = _encode_avatars(portraitist, selfie, output, options, outputs, result)
            writers = {path: functools.partial(_write, data, options.force) for path, data in files.items()}
        for path, write in writers.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                write(path)
            except FileExistsError:
                if path != output or options.force:
                    raise
                return PaintResult(selfie, existed=True)  # another run has written it in the meantime
            result.written.append(path)
    except (RejectedError, FinishError, OSError) as error:
        result.errors.append(_describe(error, selfie))
    return result


def _describe(error: Exception, selfie: Path) -> str:
    """Describe an error in one line, with the path if it concerns the output."""
    if isinstance(error, OSError) and error.filename and str(error.filename) != str(selfie):
        return f"cannot write {error.filename}: {error.strerror}"
    return str(getattr(error, "strerror", None) or error)


def _encode_avatars(
    portraitist: Portraitist,
    selfie: Path,
    output: Path,
    options: PaintOptions,
    outputs: Collection[Path],
    result: PaintResult,
) -> dict[Path, bytes]:
    """Return the output files of one picture: the largest face gets the output path, the others numbered ones.

    A number is skipped if its path is the output of another selfie of the run, or the selfie itself.
    """
    cleaned = read_selfie(selfie, FULL_MAX_SIDE_PX) if options.paste_back else read_selfie(selfie)
    size_px = MAX_PAINTED_PX if options.paste_back else options.finish.size_px or DEFAULT_SIZE_PX
    faces = portraitist.paint_crops(cleaned, portraitist.crops(cleaned, options.faces), size_px)
    avatars = {index: face for index, face in enumerate(faces) if isinstance(face, Avatar)}
    rejected = {index: face for index, face in enumerate(faces) if isinstance(face, RejectedError)}
    if not avatars:
        raise rejected[0]
    result.errors += [f"face {index + 1}: {error}" for index, error in rejected.items()]
    form = OUTPUT_FORMATS[output.suffix.lower()]
    if options.paste_back:
        return {output: encode_avatar(paste_back(cleaned.picture, list(avatars.values())), form)}
    numbered = (output.with_stem(f"{output.stem}-{number}") for number in count(2))
    free = (path for path in numbered if path not in outputs and not (path.exists() and path.samefile(selfie)))
    paths = [output, *islice(free, len(faces) - 1)]
    return {
        paths[index]: encode_avatar(apply_finish(avatar, options.finish), form) for index, avatar in avatars.items()
    }


def _write(data: bytes, force: bool, path: Path) -> None:
    with atomic_write(path, overwrite=force) as partial:
        partial.write_bytes(data)
