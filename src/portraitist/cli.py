"""The `portraitist` command: paint, serve, and the tools around the training data."""

import io
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from tqdm import tqdm

from portraitist.app import DEFAULT_MODEL
from portraitist.core.workers import available_cores

app = typer.Typer(help="Turn selfies into hand-painted avatars.", no_args_is_help=True, add_completion=False)
dataset = typer.Typer(help="Inspect and edit the training data.", no_args_is_help=True)
app.add_typer(dataset, name="dataset")
POLL_S = 2.0  # how often `tensorboard --follow` reads the logs
MAX_LISTED = 5  # skipped files that are named

ModelOption = Annotated[Path, typer.Option(help="The exported model: a folder, or one of its .onnx files.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda or coreml.")]


def main() -> None:
    """Run the command line. Packages beyond the core are imported by the commands that need them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may have characters the terminal cannot show
    try:
        app()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("portraitist"):
            raise
        package = str(error.name).partition(".")[0]
        extras = (
            "'portraitist[app]' for painting, 'portraitist[tensorboard]' for TensorBoard, "
            "'portraitist[pipeline]' otherwise"
        )
        sys.exit(f"portraitist: the package {package} is missing: pip install {extras}")


def _print_version(value: bool) -> bool:
    if value:
        from portraitist import __version__

        print(__version__)
        raise typer.Exit
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn selfies into hand-painted avatars."""


@app.command()
def paint(
    selfies: Annotated[
        list[Path], typer.Argument(help="Pictures, clips, folders or glob patterns.", show_default=False)
    ],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="PATH", help="Output file, or output folder with a trailing slash.")
    ],  # a Path would drop the slash
    model: ModelOption = DEFAULT_MODEL,
    background: Annotated[
        str, typer.Option(help="transparent, keep, a CSS colour, or the path of a picture.")
    ] = "transparent",
    shape: Annotated[str, typer.Option(help="square or circle.")] = "square",
    size: Annotated[int | None, typer.Option(help="Side in pixels. [default: the model's resolution]")] = None,
    face: Annotated[str, typer.Option(help="each or largest. Further faces get numbered files.")] = "each",
    paste_back: Annotated[
        bool, typer.Option("--paste-back", help="Output the complete photo with the painted people in it.")
    ] = False,
    device: DeviceOption = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing files.")] = False,
) -> None:
    """Paint every large face of each selfie; clips and animated GIFs become painted clips.

    Example: portraitist paint holiday/ -o avatars/ --background ivory --shape circle
    """
    if face not in ("each", "largest"):
        _fail(f"--face is {face!r}; allowed are each and largest", 2)
    from portraitist.app.avatar import ModelError, Portraitist
    from portraitist.app.compositing import OUTPUT_FORMATS, Finish, FinishError
    from portraitist.app.paint_files import (
        BatchError,
        PaintOptions,
        check_options,
        expand_paths,
        paint_batch,
        plan_outputs,
    )

    failed = existed = 0
    with _exit_on_sigterm(), _quiet_native_stderr():
        try:
            finish = Finish.parse(background, shape, size, allow_files=True)
            options = PaintOptions(finish, "largest" if face == "largest" else "each", paste_back, force)
            inputs = expand_paths(selfies)
            check_options(inputs.selfies, options)
            may_exist = force or inputs.selfies != selfies[:1]  # an interrupted batch continues
            outputs = plan_outputs(inputs.selfies, out, may_exist)
            for path in outputs if not paste_back else []:
                finish.check(OUTPUT_FORMATS.get(path.suffix.lower(), "a clip"))
            cores = available_cores()
            workers = min(cores, len(inputs.selfies))
            portraitist = Portraitist(model, device, threads=cores // workers)
        except (BatchError, FinishError, ModelError, OSError) as error:
            _fail(_describe(error), 2)
        _report_skipped(inputs.skipped)
        try:
            with tqdm(total=len(outputs), desc="paint", disable=None, leave=False) as progress:
                for result in paint_batch(portraitist, inputs.selfies, outputs, options, workers):
                    for path in result.written:
                        tqdm.write(str(path), sys.stdout)
                    for message in result.errors:
                        tqdm.write(f"portraitist: {result.selfie}: {message}", sys.stderr)
                    failed += bool(result.errors)
                    existed += result.existed
                    progress.update()
        except ModelError as error:
            _fail(f"{model}: {error}", 2)
        if existed:
            print(f"portraitist: skipped {existed} that existed already; --force overwrites", file=sys.stderr)
        if failed:
            _fail(f"{failed} of {len(outputs)} selfies failed, completely or in part", 1)


def _report_skipped(skipped: Sequence[Path]) -> None:
    if skipped:
        names = ", ".join(f"{path}/" if path.is_dir() else str(path) for path in skipped[:MAX_LISTED])
        more = f" and {len(skipped) - MAX_LISTED} more" if len(skipped) > MAX_LISTED else ""
        print(f"portraitist: skipped {len(skipped)} that are not pictures: {names}{more}", file=sys.stderr)


@app.command()
def serve(
    model: ModelOption = DEFAULT_MODEL,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 admits other machines.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 8000,
    device: DeviceOption = "cpu",
    megabytes: Annotated[float, typer.Option(min=0.1, max=64, help="Maximum size of a picture.")] = 20.0,
    memory_mb: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum memory, with all child processes. [default: 1536, and 512 for each core]"),
    ] = None,
    waiting: Annotated[int, typer.Option(min=0, max=1000, help="Maximum number of waiting requests.")] = 20,
    per_minute: Annotated[int, typer.Option(min=1, max=100_000, help="Pictures per minute from one address.")] = 30,
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            metavar="ADDRESSES",
            envvar="FORWARDED_ALLOW_IPS",
            help="Reverse proxies whose X-Forwarded-For header is trusted: addresses or networks, comma-separated.",
        ),
    ] = "127.0.0.1,::1",
) -> None:
    """Serve the web page that paints avatars. Pictures are never stored.

    Example: portraitist serve --host 0.0.0.0 --forwarded-allow-ips 10.0.0.0/8
    """
    import socket

    import uvicorn

    from portraitist.app import server
    from portraitist.app.avatar import ModelError, Portraitist

    is_local = host in ("127.0.0.1", "localhost", "::1")
    with _quiet_native_stderr():
        try:
            portraitist = Portraitist(model, device, threads=1)
            portraitist.check()
        except (ModelError, OSError) as error:
            _fail(_describe(error), 2)
        limits = server.Limits(megabytes, memory_mb, waiting, per_minute)
        hosts = ["127.0.0.1", "localhost", "[::1]"] if is_local else ["*"]
        try:
            asgi = server.create_app(portraitist, available_cores(), limits, hosts)
            listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        except ValueError as error:
            _fail(f"--memory-mb: {error}", 2)
        except OSError as error:
            _fail(_describe(error), 2)
        address = f"[{host}]" if ":" in host else host
        print(f"http://{address}:{listener.getsockname()[1]}/ (Ctrl-C stops)", flush=True)
        config = uvicorn.Config(asgi, **server.uvicorn_options(forwarded_allow_ips))
        uvicorn.Server(config).run(sockets=[listener])


@app.command()
def site(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    model: ModelOption = DEFAULT_MODEL,
    runtime: Annotated[
        Path | None, typer.Option(help="The .tgz of onnxruntime-web. [default: downloaded with npm]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing site.")] = False,
) -> None:
    """Build a static site that paints on the visitor's own device, for any web server.

    Example: portraitist site -o page
    """
    if out.exists() and not force:
        _fail(f"{out} exists; --force overwrites it", 2)
    from portraitist.app import site_builder

    try:
        megabytes = site_builder.build_site(model, out, runtime)
    except (site_builder.SiteBuildError, OSError) as error:
        _fail(_describe(error), 2)
    command = f"python -m http.server --bind 127.0.0.1 -d {out}"
    print(f"{out}/index.html with {megabytes:.1f} MB of models; try it with: {command}")


@dataset.command()
def unpack(
    folder: Annotated[Path, typer.Argument(help="A folder of shards, such as data/crop.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; must be empty or missing.")],
    count: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 16,
) -> None:
    """Unpack the first pictures of a folder of shards.

    Example: portraitist dataset unpack data/crop -o crops --count 50
    """
    from portraitist.core.shards import INDEX_FILE, Shards

    if not (folder / INDEX_FILE).exists():
        _fail(f"{folder} is not a folder of shards: {INDEX_FILE} is missing", 2)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _fail(f"{out} is not an empty folder; choose another one", 2)
    shards = Shards(folder)
    out.mkdir(parents=True, exist_ok=True)
    for picture in sorted(shards)[:count]:
        for suffix, data in shards.members(picture).items():
            (out / f"{picture}.{suffix}").write_bytes(data)
    print(f"{min(count, len(shards))} of {len(shards)} pictures in {out}")


@dataset.command()
def review(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("review"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing pages.")] = False,
) -> None:
    """Create web pages that show the pictures accepted by stage `clean`, on which you mark those to remove.

    Example: portraitist dataset review; then portraitist dataset forget --marks marks.txt
    """
    from portraitist.tools.review import write_pages

    if not Path("data/clean/manifest.csv").exists():
        _fail("data/clean is missing; run `dvc repro clean`, or restore it with `dvc checkout`", 2)
    if out.exists() and not force:
        _fail(f"{out} exists; --force overwrites it", 2)
    pages = write_pages(Path("data"), out)
    count = f"{len(pages)} page{'s' * (len(pages) != 1)}"
    print(f"{count}; open {pages[0]} in a browser. The pages show people: do not publish or commit them.")


@dataset.command()
def forget(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of pictures or faces, file names, URLs, groups, folders, or blocklist lines."),
    ] = None,
    marks: Annotated[list[Path] | None, typer.Option(help="The file downloaded from a review page.")] = None,
    because: Annotated[
        str, typer.Option(help="Reason for the blocklist, which is committed to git: name no person.")
    ] = "forgotten",
    repro: Annotated[bool, typer.Option("--repro", help="Run `dvc repro` afterwards.")] = False,
) -> None:
    """Remove pictures and everything made from them, and list what still contains them.

    Example: portraitist dataset forget selfies/anna --because withdrawn
    """
    from portraitist.collect.blocklist import Blocklist, BlocklistError
    from portraitist.core.files import LockedError
    from portraitist.tools import forget as forgetting

    root = Path()
    try:
        marked = [line for path in marks or [] for line in sorted(Blocklist.read(path, missing_ok=False).entries)]
        if not (names or marked):
            _fail("nothing to forget: name pictures, or pass --marks", 2)
        forgotten = forgetting.find(root, [*(names or []), *marked])
        added = forgetting.block(root, forgotten, because)
        responses = forgetting.purge_responses(root)
    except (BlocklistError, LockedError, forgetting.UnknownError, OSError) as error:
        _fail(_describe(error), 2)
    for note in forgotten.notes:
        print(note)
    count, lines = len(forgotten.ids), len(added)
    print(
        f"{count} picture{'s' * (count != 1)} found; {lines} line{'s' * (lines != 1)} added to {forgetting.BLOCKLIST}"
    )
    for name, similar in forgotten.missed.items():
        message = "matches nothing in the data; future runs will reject it"
        print(f"portraitist: {name}: {message}{similar and '; '}{similar}", file=sys.stderr)
    derived = forgetting.derived_outputs(root, forgotten.ids)
    removed = forgetting.purge(root, forgotten.ids)
    for source, count in removed.items():
        print(f"data/raw/{source}: {count} removed")
    if responses:
        print(f".fetch-cache: {responses} removed")
    if removed and Path(".dvc").is_dir():  # without it, DVC would collect the pictures again
        _dvc("commit", "--force", *(f"collect@{source}" for source in removed))
    if derived:
        print(f"still contain or depend on them, until {'now' if repro else '`dvc repro`'}: {', '.join(derived)}")
    if repro:
        _dvc("repro")
    print("Not removed by any stage:")
    for line in forgetting.remaining_steps(root, forgotten.ids):
        print(f"- {line}")
    if forgotten.missed:
        _fail("some names matched no picture; see above", 1)


@dataset.command()
def cache() -> None:
    """Show the size of .fetch-cache, in which stage `collect` keeps all that it downloaded.

    Example: portraitist dataset cache
    """
    from portraitist.collect.response_store import store_folder, total_megabytes, usage

    folder = store_folder()
    print(f"{'source':<12} {'pictures':>8} {'pages':>8} {'failures':>8} {'MB':>8}  oldest .. newest")
    for row in usage(folder):
        counts = f"{row.pictures:>8} {row.pages:>8} {row.failures:>8} {row.megabytes:>8.1f}"
        print(f"{row.source:<12} {counts}  {row.oldest[:10]} .. {row.newest[:10]}")
    print(f"{total_megabytes(folder):.1f} MB in {folder}")


@dataset.command("clear-cache")
def clear_cache(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Names of sources. [default: all]", show_default=False)
    ] = None,
) -> None:
    """Remove downloads from .fetch-cache, so that the next run of `collect` requests it again. Data stays as it is.

    Example: portraitist dataset clear-cache commons; then dvc repro --force --single-item collect@commons
    """
    from portraitist.collect.response_store import clear, source_names, store_folder, total_megabytes
    from portraitist.core.files import LockedError

    folder = store_folder()
    stored = source_names(folder)
    unknown = [source for source in sources or [] if source not in stored]
    if unknown:
        _fail(f"{unknown[0]}: no such source in {folder}; there are {', '.join(stored) or 'none'}", 2)
    before = total_megabytes(folder)
    try:
        clear(folder, sources or ())
    except LockedError as error:
        _fail(str(error), 2)
    print(f"{before - total_megabytes(folder):.1f} MB removed from {folder}")
    for source in sources or stored:
        print(f"to download again: dvc repro --force --single-item collect@{source}")


def _dvc(*arguments: str) -> None:
    sibling = Path(sys.executable).with_name("dvc")
    command = str(sibling) if sibling.exists() else shutil.which("dvc")
    if not command or subprocess.run([command, *arguments], check=False).returncode:
        _fail(f"`dvc {' '.join(arguments)}` failed; run it before anything else", 1)


@app.command()
def compare(
    methods: Annotated[list[Path], typer.Argument(help="Two or more folders data/paint/<method>.")],
    selfies: Annotated[Path, typer.Option(help="The crops of the selfies that were painted.")] = Path("data/crop"),
    answers: Annotated[Path, typer.Option(help="CSV file to which answers are appended.")] = Path(
        "metrics/preferences.csv"
    ),
    count: Annotated[int, typer.Option(min=1, help="Number of questions.")] = 50,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses a free one.")] = 0,
) -> None:
    """Serve a local web page for blind comparisons: which of two avatars of a face is better?

    Example: portraitist compare data/paint/cartoongan data/paint/masked_cartoongan
    """
    import random

    from portraitist.core.shards import INDEX_FILE, Shards
    from portraitist.tools.preference_server import PreferenceServer

    for folder in [*methods, selfies]:
        if not (folder / INDEX_FILE).exists():
            _fail(f"{folder} is not a folder of shards: {INDEX_FILE} is missing", 2)
    try:
        shards = {folder.name: Shards(folder) for folder in methods}
        server = PreferenceServer(shards, Shards(selfies), answers, count, random.Random(), port)
    except (ValueError, OSError) as error:
        _fail(_describe(error), 2)
    with server:
        print(f"{len(server.questions)} questions at {server.address} (Ctrl-C stops)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"\n{server.answered} answered; `dvc repro compare` adds them to metrics/report.html")


@app.command()
def tensorboard(
    logs: Annotated[Path, typer.Argument(help="Folder of training logs.")] = Path("logs"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder for the event files.")] = Path("runs"),
    follow: Annotated[bool, typer.Option("--follow", help="Keep converting logs of running trainings.")] = False,
) -> None:
    """Convert training logs to TensorBoard event files.

    Example: portraitist tensorboard --follow; then tensorboard --logdir runs
    """
    import time

    from portraitist.core.training_log import PLOTS_FOLDER
    from portraitist.tools.tensorboard import LogFormatError, TensorboardWriter

    writer = TensorboardWriter(logs, out)
    try:
        count = writer.catch_up()
        if not (count or follow):
            problem = f"contains no folder {PLOTS_FOLDER}" if logs.is_dir() else "is not a folder"
            _fail(f"{logs} {problem}; trainings write their logs there while they run", 2)
        print(f"{count} run{'s' * (count != 1)} in {out}; view with: tensorboard --logdir {out}", flush=True)
        while follow:
            time.sleep(POLL_S)
            writer.catch_up()
    except (LogFormatError, OSError) as error:
        _fail(_describe(error), 2)
    except KeyboardInterrupt:
        pass


@contextmanager
def _exit_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, so that temporary and partial files are removed."""

    def handler(number: int, _: Any) -> NoReturn:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def _quiet_native_stderr() -> Iterator[None]:
    """Discard what C libraries print to stderr, such as libtiff's warnings about each damaged file.

    Python's own stderr keeps working, on a copy of the file descriptor.
    """
    original = sys.stderr
    try:
        is_native = original.fileno() == 2
    except (AttributeError, OSError, ValueError):  # replaced, as in tests
        is_native = False
    if not is_native:
        yield
        return
    original.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    sys.stderr = os.fdopen(saved, "w", buffering=1, encoding=original.encoding, errors=original.errors)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        sys.stderr.close()
        sys.stderr = original


def _describe(error: Exception) -> str:
    """Describe an error in one line; a system error by file and reason, without its number."""
    reason, file = (getattr(error, name, None) for name in ("strerror", "filename"))
    return f"{file}: {reason}" if reason and file else str(reason or error)


def _fail(message: str, code: int) -> NoReturn:
    print(f"portraitist: {message}", file=sys.stderr)
    raise typer.Exit(code)
