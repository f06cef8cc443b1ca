"""Paint files: find the input files, choose the output paths, and paint in parallel. For `portraitist paint`."""

import functools
import glob
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from threading import Event
from typing import Any, Literal, NamedTuple

from PIL import Image

from portraitist.app.avatar import DEFAULT_SIZE_PX, MAX_PAINTED_PX, Avatar, FaceSelection, Portraitist, RejectedError
from portraitist.app.clip_files import VIDEO_OUTPUT_SUFFIXES, VIDEO_SUFFIXES, needs_pyav, require_pyav
from portraitist.app.compositing import OUTPUT_FORMATS, Finish, FinishError, apply_finish, encode_avatar, paste_back
from portraitist.app.matting import on_white
from portraitist.app.selfie import FULL_MAX_SIDE_PX, IMAGE_SUFFIXES, MAX_MEGABYTES, MAX_SIDE_PX, File, read_selfie
from portraitist.app.styles import StyleOptions
from portraitist.app.video import paint_video
from portraitist.clean.decode import READABLE_FORMATS, STILL_FORMATS
from portraitist.core.files import write_file
from portraitist.core.outcome import Status
from portraitist.crop.align import Crop

CLIP_SUFFIXES = dict.fromkeys(VIDEO_SUFFIXES, ".mp4") | {".gif": ".gif"}  # output suffix by input suffix
STANDARD_STREAM = Path("-")  # as a selfie: standard input; as an output: standard output
MAX_BYTES = round(MAX_MEGABYTES * 1e6)
STDIN_STEM = "selfie"  # file name of the avatar if the selfie comes from standard input and the output is a folder
OWN_OUTPUT = re.compile(r"-avatar(-\d+)?\.(png|mp4|gif)$")  # how names of avatars end if --out is not given


class BatchError(ValueError):
    """Invalid arguments; nothing was painted."""


class Inputs(NamedTuple):
    """The files to paint.

    Attributes:
        selfies: paths of pictures and clips.
        skipped: files in the input folders that are neither pictures nor clips.
        unreadable: errors of subfolders that cannot be read.
        subfolders: for each selfie, its folder relative to the input folder; `.` without --recursive.
    """

    selfies: list[Path]
    skipped: list[Path]
    unreadable: list[OSError]
    subfolders: list[Path]


@dataclass(frozen=True)
class PaintOptions:
    """Options of one run of `portraitist paint`."""

    finish: Finish
    style: StyleOptions = field(default_factory=StyleOptions)
    faces: FaceSelection = "each"
    paste_back: bool = False
    align: bool = False
    force: bool = False


class PaintError(NamedTuple):
    """Why a selfie, or one of its faces, was not painted.

    Attributes:
        reason: a value of `Status`; `system` for an error of the operating system; `option` for an invalid option.
        message: one sentence.
    """

    reason: str
    message: str


@dataclass
class PaintResult:
    """The result for one selfie.

    Attributes:
        selfie: the input file.
        existed: whether nothing was painted, because the avatar existed already.
        written: the output files.
        errors: why the selfie, or some of its faces, were not painted.
        painted_px: number of painted pixels across the avatar, before the painting is enlarged to the size of the
            avatar. If several faces were painted, the smallest of these numbers. None for clips, and if nothing was
            painted.
        seconds: time for this selfie.
    """

    selfie: Path
    existed: bool = False
    written: list[Path] = field(default_factory=list)
    errors: list[PaintError] = field(default_factory=list)
    painted_px: int | None = None
    seconds: float = 0.0

    @property
    def status(self) -> Literal["painted", "partly_painted", "existed", "failed"]:
        """Return whether all faces, some or none were painted, or the avatar existed already."""
        if self.existed:
            return "existed"
        if not self.errors:
            return "painted"
        return "partly_painted" if self.written else "failed"

    def as_json(self) -> dict[str, Any]:
        """Return the object that `portraitist paint --json` prints; docs/cli.md documents its keys."""
        return {
            "selfie": str(self.selfie),
            "status": self.status,
            "outputs": [str(path) for path in self.written],
            "errors": [error._asdict() for error in self.errors],
            "painted_px": self.painted_px,
            "seconds": round(self.seconds, 3),
        }


def expand_paths(arguments: Sequence[Path], recursive: bool = False, out: Path | None = None) -> Inputs:
    """Expand files, folders and glob patterns to a list of input files without duplicates; `-` is standard input.

    Pictures and clips in a folder are recognised by their suffixes. A file with any other suffix, such as `.jfif`, is
    recognised as a picture by its content. In folders, and among the files that match a pattern, hidden files and
    avatars of earlier runs are ignored. macOS, for example, may create a hidden file for each picture.

    Args:
        arguments: the arguments of the command.
        recursive: also search subfolders.
        out: the output folder; it is not searched, even if it is inside a searched folder.

    Raises:
        BatchError: a folder or a pattern matches no picture, an argument is a URL, or `-` is not the only argument.
    """
    if STANDARD_STREAM in arguments and len(set(arguments)) > 1:
        raise BatchError("- is one picture on standard input; it cannot be combined with other selfies")
    selfies: dict[Path, tuple[Path, Path]] = {}
    skipped: list[Path] = []
    unreadable: list[OSError] = []
    for argument in arguments:
        if (
            re.match(r"\w\w+:/", argument.as_posix()) and not argument.exists()
        ):  # Path has reduced the double slash to one
            url = argument.as_posix().replace(":/", "://", 1)
            raise BatchError(f"{url}: URLs are not supported; download the picture first")
        if argument.is_dir():
            found = [path for path in _files_in(argument, recursive, out, unreadable) if not _is_own_output(path)]
            matches = [path for path in found if _is_selfie(path)]
            skipped += sorted(set(found) - set(matches))
        elif glob.has_magic(str(argument)) and not argument.exists():
            root = Path(argument.anchor)
            found = sorted(root.glob(str(argument.relative_to(root))))
            matches = [path for path in found if _is_visible_file(path) and not _is_own_output(path)]
        else:
            matches = [argument]
        if not matches:
            hint = f"supported are {' '.join((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))}"
            deeper = _walk(argument, out, []) if argument.is_dir() and not recursive else ()
            if selfie := next((path for path in deeper if _is_selfie(path) and not _is_own_output(path)), None):
                hint = f"there are some in {selfie.parent}; -r searches the folders below"
            if unreadable:
                hint = f"{unreadable[0].filename} cannot be read: {unreadable[0].strerror}"
            raise BatchError(f"{argument}: no pictures found; {hint}")
        for path in matches:
            subfolder = path.parent.relative_to(argument) if argument.is_dir() else Path()
            selfies.setdefault(path.absolute(), (path, subfolder))
    paths, subfolders = zip(*selfies.values(), strict=True)
    return Inputs(list(paths), skipped, unreadable, list(subfolders))


def _files_in(folder: Path, recursive: bool, out: Path | None, unreadable: list[OSError]) -> list[Path]:
    """Return the files and subfolders of a folder that are not hidden; with `recursive`, what `_walk` yields."""
    if not recursive:
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    next(folder.iterdir(), None)  # fails if the folder itself cannot be read
    return sorted(_walk(folder, out, unreadable))


def _walk(folder: Path, out: Path | None, unreadable: list[OSError]) -> Iterator[Path]:
    """Yield the files below a folder and links to folders, without hidden ones and the content of links and of `out`.

    The errors of subfolders that cannot be read are appended to `unreadable`.
    """
    output = out.absolute() if out and not folder.absolute().is_relative_to(out.absolute()) else None

    def is_searched(path: Path) -> bool:
        return not path.name.startswith(".") and path.absolute() != output

    for parent, subfolders, names in os.walk(folder, onerror=unreadable.append):
        subfolders[:] = [name for name in subfolders if is_searched(Path(parent, name))]
        yield from (path for path in (Path(parent, name) for name in subfolders) if path.is_symlink())
        try:
            yield from [path for path in (Path(parent, name) for name in names) if is_searched(path) and path.is_file()]
        except OSError as error:  # the folder can be listed, but its files cannot be opened
            unreadable.append(OSError(error.errno, error.strerror, parent))


def _is_own_output(path: Path) -> bool:
    return bool(OWN_OUTPUT.search(path.name))


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
    """Return whether a file is a clip, by its suffix; a .gif that contains a still picture is none."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES and not (suffix == ".gif" and _is_still(path))


def _is_still(path: Path) -> bool:
    try:
        with Image.open(path, formats=READABLE_FORMATS) as picture:
            return picture.format in STILL_FORMATS or not getattr(picture, "is_animated", False)
    except Exception:  # as in _is_picture
        return False


def _is_visible_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".")


def check_options(selfies: Sequence[Path], outputs: Sequence[Path], options: PaintOptions) -> None:
    """Check that every option has an effect on these selfies, and that the output formats support the options.

    Raises:
        BatchError: an option would be ignored.
        FinishError: an output is a JPEG, but background or shape need transparency.
        ModuleNotFoundError: clips need PyAV, which is missing.
    """
    for option, value in (("--paste-back", options.paste_back), ("--align", options.align)):
        if value and (clips := [path for path in selfies if _is_clip(path)]):
            raise BatchError(f"{clips[0]} is a clip; {option} is for pictures only")
    for path in outputs if not options.paste_back else []:
        options.finish.check(OUTPUT_FORMATS.get(path.suffix.lower(), "a clip"))
    if any(_is_clip(selfie) and needs_pyav(selfie, output) for selfie, output in zip(selfies, outputs, strict=True)):
        require_pyav()


def plan_outputs(
    selfies: Sequence[Path],
    out: Path | str | None,
    may_exist: bool,
    subfolders: Sequence[Path] = (),
    other_inputs: Sequence[Path] = (),
) -> list[Path]:
    """Return the output path of each selfie: `out` itself, or a file in the folder `out`.

    In a folder, an avatar has the name of its selfie: me.png for me.jpg. If `out` ends in a slash, it is a folder. If
    the names of selfies differ only in the suffix, the suffix becomes part of the outputs' names, such as me.heic.png.

    Without `out`, avatars are written to the current folder, and `-avatar` follows the name of the selfie:
    me-avatar.png for me.jpg. The avatar of standard input is then written to standard output.

    Args:
        selfies: the input files.
        out: a file, a folder, or `-` for standard output.
        may_exist: whether existing outputs are allowed.
        subfolders: for each selfie, the folder below `out` in which its output is placed.
        other_inputs: other files that the run reads, such as the example of `--like`.

    Raises:
        BatchError: two outputs would have the same name, an input would be overwritten, a file exists and `may_exist`
            is False, the suffix of `out` is not supported, or `out` is one file for several selfies.
    """
    if str(out) == "-" or (out is None and STANDARD_STREAM in selfies):
        if len(selfies) > 1 or _is_clip(selfies[0]):
            found = f"{len(selfies)} selfies" if len(selfies) > 1 else f"{selfies[0]}, a clip"
            raise BatchError(f"-o -: standard output takes one picture, found {found}; name a file or a folder")
        return [STANDARD_STREAM]
    is_folder = out is None or str(out).endswith(("/", os.sep)) or Path(out).is_dir()
    ending = "" if out is not None else "-avatar"
    out = Path(out or "")
    allowed = [VIDEO_OUTPUT_SUFFIXES if _is_clip(path) else tuple(OUTPUT_FORMATS) for path in selfies]
    if len(selfies) > 1 and not is_folder and out.suffix.lower() in (*OUTPUT_FORMATS, *VIDEO_OUTPUT_SUFFIXES):
        raise BatchError(f"{out} is one file for {len(selfies)} selfies; for a folder, append a slash: -o {out}/")
    is_single = len(selfies) == 1 and not is_folder and bool(out.suffix)
    if is_single and out.suffix.lower() not in allowed[0]:
        raise BatchError(f"{out}: suffix {out.suffix!r} is not supported; allowed are {' '.join(allowed[0])}")
    folders = [out / subfolder for subfolder in subfolders] or [out] * len(selfies)
    stems = [STDIN_STEM if path == STANDARD_STREAM else path.stem for path in selfies]
    named = zip(selfies, folders, stems, strict=True)
    short_names = [out] if is_single else [folder / _output_name(stem + ending, path) for path, folder, stem in named]
    outputs = [out] if is_single else _disambiguate(selfies, short_names, ending)
    parent = next(path for path in outputs[0].absolute().parents if path.exists())
    if not parent.is_dir():
        found = "" if parent == out.absolute() else f"{parent} is "
        raise BatchError(f"-o {out}: {found}not a folder")
    inputs = {_file_id(path) for path in selfies}
    # also check the names before suffixes were added: they may be names of selfies in the same folder
    if lost := [path for path in (*short_names, *outputs) if _is_one_of(path, inputs)]:
        raise BatchError(f"{lost[0]} is one of the selfies, which are never overwritten; choose another output")
    read = {_file_id(path) for path in other_inputs}
    if lost := [path for path in outputs if _is_one_of(path, read)]:
        raise BatchError(f"{lost[0]} is an input of this run; choose another output")
    existing = [path for path in outputs if os.path.lexists(path)]
    if existing and not may_exist:
        raise BatchError(f"{existing[0]} exists; --force overwrites it")
    return outputs


def _output_name(stem: str, selfie: Path) -> str:
    return f"{stem}{CLIP_SUFFIXES[selfie.suffix.lower()] if _is_clip(selfie) else '.png'}"


def _disambiguate(selfies: Sequence[Path], short_names: Sequence[Path], ending: str) -> list[Path]:
    """Return the outputs' paths; if several selfies would share a path, add each selfie's suffix to the name."""
    counts = Counter(short_names)
    owners: dict[Path, Path] = {}
    for path, name in zip(selfies, short_names, strict=True):
        unique = name if counts[name] == 1 else name.with_name(_output_name(path.name + ending, path))
        owner = owners.setdefault(unique, path)
        if owner != path:
            raise BatchError(f"{owner} and {path} would have the same output {unique}; paint them in separate runs")
    return list(owners)


def _file_id(path: Path) -> tuple[int, int] | None:
    """Return the device and the inode of a file, the same for all names of the file; None if unknown."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino


def _exists(path: Path) -> bool:
    return _file_id(path) is not None


def _is_one_of(path: Path, file_ids: Collection[tuple[int, int] | None]) -> bool:
    file_id = _file_id(path)
    return file_id is not None and file_id in file_ids


def paint_batch(
    portraitist: Portraitist,
    selfies: Sequence[Path],
    outputs: Sequence[Path],
    options: PaintOptions,
    workers: int,
    other_inputs: Sequence[Path] = (),
) -> Iterator[PaintResult]:
    """Paint the selfies with `workers` threads and yield the results in the order of the selfies.

    No avatar gets the path of a selfie or of one of `other_inputs`. If the caller stops, by an error or a signal,
    pending selfies are not painted, and clips end at the next frame.

    Raises:
        ModelError: the model file is damaged.
    """
    stop = Event()
    inputs = {_file_id(path) for path in (*selfies, *other_inputs)}

    def is_taken(path: Path) -> bool:
        return path in outputs or _is_one_of(path, inputs)

    with ThreadPoolExecutor(workers) as pool:
        try:
            yield from pool.map(
                lambda selfie, output: _paint(portraitist, selfie, output, options, is_taken, stop), selfies, outputs
            )
        finally:
            stop.set()


def _paint(
    portraitist: Portraitist,
    selfie: Path,
    output: Path,
    options: PaintOptions,
    is_taken: Callable[[Path], bool],
    stop: Event,
) -> PaintResult:
    result = PaintResult(selfie)
    if output != STANDARD_STREAM and _exists(output) and not options.force:
        result.existed = True
        return result
    started = time.perf_counter()
    files: dict[Path, bytes] = {}
    writers: dict[Path, Callable[[Path], object]]
    try:
        if _is_clip(selfie):
            finish, style = options.finish, options.style
            writers = {output: lambda path: paint_video(portraitist, selfie, path, finish, options.force, style, stop)}
        else:
            files = _encode_avatars(portraitist, selfie, output, options, is_taken, result)
            writers = {path: functools.partial(_write, data, options.force) for path, data in files.items()}
        for path in sorted(writers, key=lambda path: path == output):  # `output` last: if it exists, later runs skip it
            try:
                writers[path](path)
            except FileExistsError as error:
                if options.force or (path == output and not _exists(path)):
                    raise  # the output or a folder above it is a link to nothing, or such a folder is a file
                if path == output:
                    result.existed = True  # another process has written it in the meantime
                    break
                if not _contains(path, files[path]):  # not a file that an interrupted run has written
                    result.errors.append(PaintError(_reason(error), _describe(error, selfie)))
                    continue
            result.written.append(path)
    except (RejectedError, FinishError, OSError) as error:
        result.errors.append(PaintError(_reason(error), _describe(error, selfie)))
    result.written.sort(key=lambda path: path != output)
    result.seconds = time.perf_counter() - started
    return result


def _contains(path: Path, data: bytes) -> bool:
    """Return whether a file has this content; False if the path is a folder or cannot be read."""
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _reason(error: Exception) -> str:
    if isinstance(error, RejectedError):
        return error.status.value
    return "system" if isinstance(error, OSError) else "option"


def _describe(error: Exception, selfie: Path) -> str:
    """Return an error as one line; if the error is about the output file, the line contains its path."""
    if isinstance(error, OSError) and error.filename and str(error.filename) != str(selfie):
        return f"cannot write {error.filename}: {error.strerror}"
    return str(getattr(error, "strerror", None) or error)


def _encode_avatars(
    portraitist: Portraitist,
    selfie: Path,
    output: Path,
    options: PaintOptions,
    is_taken: Callable[[Path], bool],
    result: PaintResult,
) -> dict[Path, bytes]:
    """Paint a selfie and return the bytes of each output file by its path.

    The avatar of the largest face has the path `output`, the others have numbered paths. A number is skipped if
    its path is taken by another output, or by an input of the run. Standard output receives only the largest face.
    """
    file: File = _read_stdin() if selfie == STANDARD_STREAM else selfie
    style = portraitist.read_style(options.style)
    photo = read_selfie(file, FULL_MAX_SIDE_PX if options.paste_back else MAX_SIDE_PX)
    size_px = MAX_PAINTED_PX if options.paste_back else options.finish.size_px or DEFAULT_SIZE_PX
    selection = "largest" if output == STANDARD_STREAM and not options.paste_back else options.faces
    crops = portraitist.crops(photo, selection)
    if options.paste_back:  # people who touch are not divided: the unpainted photo would be visible between them
        crops = [replace(crop, other_faces=()) if isinstance(crop, Crop) else crop for crop in crops]
    faces = portraitist.paint_crops(photo, crops, size_px, options.align, style)
    avatars = {index: face for index, face in enumerate(faces) if isinstance(face, Avatar)}
    rejected = {index: face for index, face in enumerate(faces) if isinstance(face, RejectedError)}
    if not avatars:
        raise rejected[0]
    result.errors += [PaintError(error.status.value, f"face {index + 1}: {error}") for index, error in rejected.items()]
    result.painted_px = min(avatar.painted_px for avatar in avatars.values())
    form = "PNG" if output == STANDARD_STREAM else OUTPUT_FORMATS[output.suffix.lower()]
    if options.paste_back:
        visible = on_white(photo.picture, photo.alpha)
        return {output: encode_avatar(paste_back(visible, list(avatars.values())), form)}
    numbered = (output.with_stem(f"{output.stem}-{number}") for number in count(2))
    free = (path for path in numbered if not is_taken(path))
    paths = [output, *islice(free, len(faces) - 1)]
    return {
        paths[index]: encode_avatar(apply_finish(avatar, options.finish), form) for index, avatar in avatars.items()
    }


def _read_stdin() -> bytes:
    if sys.stdin is None:  # the caller has closed it
        raise RejectedError(Status.NOT_A_PICTURE, "standard input is closed")
    return sys.stdin.buffer.read(MAX_BYTES + 1)


def _write(data: bytes, force: bool, path: Path) -> None:
    if path == STANDARD_STREAM:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, data, overwrite=force)
