"""Commands that paint: `portraitist paint` and `portraitist styles`."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from tqdm import tqdm

from portraitist.cli.console import (
    FAILED,
    INVALID,
    DeviceOption,
    ModelOption,
    describe,
    exit_on_sigterm,
    fail,
    model_path,
    note,
)
from portraitist.core.cores import available_cores
from portraitist.core.native_stderr import quiet_native_stderr

if TYPE_CHECKING:
    from portraitist.app.paint_files import PaintResult

DEFAULT_BACKGROUND, DEFAULT_SIZE_PX = "backdrop", 512
BACKGROUNDS = ("backdrop", "transparent", "keep")  # proposed by shell completion; colours and paths are allowed too
MAX_LISTED = 5  # maximum number of skipped files that the message names
MAX_ROUNDING = 0.03  # of the side: multiples of 8 px, and at least 256 px

Shape = Literal["square", "circle"]
Faces = Literal["each", "largest"]


def paint(
    selfies: Annotated[
        list[Path],
        typer.Argument(
            metavar="SELFIE...",
            readable=False,  # an unreadable file is reported for itself, and the others are painted
            help="Pictures, clips, folders or glob patterns; - reads a picture from standard input.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--out",
            metavar="PATH",
            help="Output file, output folder with a trailing slash, or - for standard output. "
            "[default: NAME-avatar.png in the current folder]",
        ),
    ] = None,  # not a Path, which would drop a trailing slash
    style: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A style that `portraitist styles` lists. [default: the first one]"),
    ] = None,
    like: Annotated[
        Path | None, typer.Option(metavar="PICTURE", help="Paint in the style of this portrait; excludes --style.")
    ] = None,
    strength: Annotated[float, typer.Option(metavar="0..1", help="Blend the selfie (0) with the painting (1).")] = 1.0,
    keep_colours: Annotated[
        bool, typer.Option("--keep-colours", help="Keep the selfie's colours of hair, skin and eyes.")
    ] = False,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="BACKGROUND",
            help="'backdrop': painted in the colour of the photo's background. 'transparent': no background. 'keep': "
            "the photo's own background. Any other value: a CSS colour, such as 'ivory', or the path of a picture.",
            show_default=DEFAULT_BACKGROUND,
            autocompletion=lambda: list(BACKGROUNDS),
        ),
    ] = None,
    shape: Annotated[Shape | None, typer.Option(help="Shape of the avatar.", show_default="square")] = None,
    size: Annotated[
        int | None,
        typer.Option(metavar="PIXELS", help="Side of the avatar, 16 to 4096.", show_default=str(DEFAULT_SIZE_PX)),
    ] = None,
    face: Annotated[
        Faces,
        typer.Option(
            help="each: one avatar of every face of at least half the size of the largest one, in numbered files. "
            "largest: only the largest face."
        ),
    ] = "each",
    paste_back: Annotated[
        bool,
        typer.Option(
            "--paste-back",
            help="Output the whole photo, with the painted people in it. For pictures only; excludes --background, "
            "--shape, --size and --align.",
        ),
    ] = False,
    align: Annotated[
        bool,
        typer.Option("--align", help="Level the eyes, instead of keeping the selfie's orientation. For pictures only."),
    ] = False,
    recursive: Annotated[
        bool, typer.Option("-r", "--recursive", help="Also paint the pictures in subfolders.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
    model: ModelOption = None,
    device: DeviceOption = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per selfie.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "-v",
            "--verbose",
            help="Also print, for each selfie, the side in pixels at which it was painted, and the time.",
        ),
    ] = False,
) -> None:
    """Paint every large face of each selfie. Videos and animated GIFs become painted clips.

    Example: portraitist paint holiday/ -o avatars/ --background ivory

    Example: portraitist paint - < me.jpg > avatar.png
    """
    _check_conflicts({"-q": quiet, "-v": verbose})
    _check_conflicts({"--style": style, "--like": like})
    if paste_back:
        _check_paste_back({"--background": background, "--shape": shape, "--size": size, "--align": align})
    if not 0 <= strength <= 1:
        fail(f"--strength is {strength:g}; allowed are 0 to 1", INVALID)
    from portraitist.app.avatar import ModelError, Portraitist
    from portraitist.app.compositing import Finish
    from portraitist.app.paint_files import (
        STANDARD_STREAM,
        PaintOptions,
        check_options,
        expand_paths,
        paint_batch,
        plan_outputs,
    )
    from portraitist.app.styles import StyleOptions

    size_px = DEFAULT_SIZE_PX if size is None else size
    with exit_on_sigterm(), quiet_native_stderr():
        try:
            finish = Finish.parse(
                DEFAULT_BACKGROUND if background is None else background, shape or "square", size_px, allow_files=True
            )
            inputs = expand_paths(selfies, recursive, Path(out) if out else None)
            # existing avatars are skipped, so that an interrupted run can be resumed; for one selfie, they are an error
            may_exist = force or inputs.selfies != selfies[:1]
            other_inputs = [Path(path) for path in (like, background) if path]
            outputs = plan_outputs(inputs.selfies, out, may_exist, inputs.subfolders, other_inputs)
            if outputs == [STANDARD_STREAM]:
                _check_standard_output(as_json)
            _check_portrait(like)
            style_options = StyleOptions(style or StyleOptions.name, like, strength, keep_colours)
            options = PaintOptions(finish, style_options, face, paste_back, align, force)
            check_options(inputs.selfies, outputs, options)
            workers = min(available_cores(), len(inputs.selfies))
            path = model_path(model, (lambda message: None) if quiet else note)
            portraitist = Portraitist(path, device, threads=available_cores() // workers)
            if style and style not in portraitist.style_names:
                fail(f"--style is {style!r}; the styles of {path} are {', '.join(portraitist.style_names)}", INVALID)
            portraitist.read_style(style_options)  # fails if the model cannot paint in the style of an example
        except (ValueError, OSError) as error:  # among them BatchError, FinishError and ModelError
            fail(describe(error), INVALID)
        if not quiet:
            _report_skipped(inputs.skipped)
        results = []
        try:
            with tqdm(total=len(outputs), desc="paint", disable=quiet or None, leave=False) as progress:
                for result in paint_batch(portraitist, inputs.selfies, outputs, options, workers, other_inputs):
                    _report(result, as_json, quiet, verbose)
                    results.append(result)
                    progress.update()
        except ModelError as error:
            fail(str(error), INVALID)
        except (KeyboardInterrupt, SystemExit):
            _report_interruption(len(results), len(outputs), force)
            raise
        if not quiet:
            _report_total(results, None if paste_back else size_px)
        _fail_if_any_failed(results, inputs.unreadable)


def styles(model: ModelOption = None) -> None:
    """List the styles of a model. The first one is the default.

    Example: portraitist styles

    Example: portraitist paint me.jpg --style gold
    """
    from portraitist.app.avatar import Portraitist

    with quiet_native_stderr():
        try:
            portraitist = Portraitist(model_path(model))
        except (ValueError, OSError) as error:
            fail(describe(error), INVALID)
    print(*portraitist.style_names, sep="\n")


def _check_standard_output(as_json: bool) -> None:
    if as_json:
        fail("--json and the avatar both go to standard output; name a file with -o", INVALID)
    if sys.stdout is None:  # the caller has closed it
        fail("standard output is closed; name a file with -o", INVALID)
    if sys.stdout.isatty():
        fail("standard output is a terminal; redirect it, or name a file with -o", INVALID)


def _check_conflicts(options: Mapping[str, object]) -> None:
    """Fail if more than one of these options has a value; `options` maps their names to their values."""
    given = [option for option, value in options.items() if value]
    if len(given) > 1:
        fail(f"{given[0]} and {given[1]} exclude each other; pass only one of them", INVALID)


def _check_paste_back(options: Mapping[str, object]) -> None:
    """Fail if one of these options has a value; `options` maps their names to their values."""
    for option, value in options.items():
        _check_conflicts({"--paste-back": True, option: value not in (None, False)})


def _check_portrait(path: Path | None) -> None:
    """Check that the file of --like, if any, is a picture, before anything is painted.

    Raises:
        BatchError: the file is not a picture.
        OSError: the file cannot be read.
    """
    if path is None:
        return
    from portraitist.app.paint_files import BatchError
    from portraitist.app.selfie import read_selfie
    from portraitist.clean.decode import RejectedError

    try:
        read_selfie(path)
    except RejectedError as error:
        raise BatchError(f"--like {path}: {error}") from error


def _report(result: "PaintResult", as_json: bool, quiet: bool, verbose: bool) -> None:
    """Print the paths of a selfie's outputs to stdout, and its errors to stderr."""
    if as_json:
        tqdm.write(json.dumps(result.as_json()), sys.stdout)
    elif not quiet:
        for path in result.written:
            if str(path) != "-":
                tqdm.write(str(path), sys.stdout)
    if verbose:
        painted = f", painted at {result.painted_px} px" if result.painted_px else ""
        tqdm.write(f"portraitist: {result.selfie}: {result.status}{painted}, {result.seconds:.2f} s", sys.stderr)
    for error in result.errors:
        tqdm.write(f"portraitist: {result.selfie}: {error.message}", sys.stderr)


def _report_total(results: Sequence["PaintResult"], size_px: int | None) -> None:
    """Print how many selfies were skipped, and how many avatars were enlarged to `size_px`.

    A painting can be smaller by up to `MAX_ROUNDING`, because models accept only some sides; such avatars are not
    counted. If `size_px` is None, no avatars are counted.
    """
    if existed := sum(result.existed for result in results):
        note(f"skipped {existed} with an existing avatar; --force overwrites existing avatars")
    sides = [result.painted_px for result in results if result.painted_px]
    enlarged = [side for side in sides if size_px and side < size_px * (1 - MAX_ROUNDING)]
    if enlarged:
        subject = "" if len(results) == 1 else f"{len(enlarged)} of {len(results)} "
        note(f"{subject}painted at {min(enlarged)} px, and enlarged to {size_px}; a smaller --size avoids this")


def _fail_if_any_failed(results: Sequence["PaintResult"], unreadable: Sequence[OSError]) -> None:
    for error in unreadable:
        note(f"skipped {describe(error)}")
    if failed := sum(bool(result.errors) for result in results):
        fail(
            f"{failed} of {len(results)} selfies were painted only in part or not at all; see the messages above",
            FAILED,
        )
    if unreadable:
        fail("some folders could not be read; see the messages above", FAILED)


def _report_interruption(done: int, total: int, force: bool) -> None:
    if total > 1:
        command = "the command without --force" if force else "the command"
        note(f"interrupted after {done} of {total} selfies; to continue, repeat {command}")


def _report_skipped(skipped: Sequence[Path]) -> None:
    if skipped:
        names = ", ".join(f"{path}/" if path.is_dir() else str(path) for path in skipped[:MAX_LISTED])
        more = f" and {len(skipped) - MAX_LISTED} more" if len(skipped) > MAX_LISTED else ""
        note(f"skipped {len(skipped)} inputs that are not pictures: {names}{more}")
