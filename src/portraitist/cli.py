"""Words to avatar.py and back; and to what looks at pictures and forgets them."""

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from tqdm import tqdm

app = typer.Typer(help="A selfie becomes a hand-painted avatar.", no_args_is_help=True, add_completion=False)
MODEL = Path("models/portraitist")
FOLLOW_S = 2.0  # between two looks at the logs


def main() -> None:
    """The console script. What a command needs beyond the core comes with an extra."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the terminal cannot show
    try:
        app()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("portraitist"):
            raise
        package = str(error.name).partition(".")[0]
        extras = "'portraitist[app]' to paint, [tensorboard] for events, [pipeline] for the rest"
        sys.exit(f"portraitist: {package} is missing: pip install {extras}")


def _version(said: bool) -> bool:
    if said:
        from portraitist import __version__

        print(__version__)
        raise typer.Exit
    return said


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say it and end.")
    ] = False,
) -> None:
    """A selfie becomes a hand-painted avatar."""


@app.command()
def paint(
    selfies: Annotated[list[Path], typer.Argument(help="Pictures, clips, folders, globs.", show_default=False)],
    out: Annotated[
        str, typer.Option("-o", "--out", metavar="PATH", help="The avatar, or a folder for avatars, with / at its end.")
    ],  # a Path would lose the /
    model: Annotated[Path, typer.Option(help="What stage export left: a folder, or a file in it.")] = MODEL,
    background: Annotated[str, typer.Option(help="transparent, keep, a colour, or a picture's file.")] = "transparent",
    shape: Annotated[str, typer.Option(help="square or circle.")] = "square",
    size: Annotated[int | None, typer.Option(help="Side in pixels; by default the model's.")] = None,
    face: Annotated[str, typer.Option(help="each, or largest. The others' files are numbered.")] = "each",
    paste_back: Annotated[bool, typer.Option("--paste-back", help="The painted persons in the whole photo.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or coreml.")] = "cpu",
    force: Annotated[bool, typer.Option("--force", help="Write over files that exist.")] = False,
) -> None:
    """Paint every large face of each selfie; a clip or a GIF becomes a painted one."""
    if face not in ("each", "largest"):
        _stop(f"--face is {face!r}; allowed are each and largest", 2)
    from portraitist.app.avatar import ModelError, Portraitist
    from portraitist.app.compositing import OUTPUT_FORMATS, Finish, FinishError
    from portraitist.app.paint_files import BatchError, Job, check_options, expand_paths, paint_batch, plan_outputs

    try:
        job = Job(Finish.of(background, shape, size), "largest" if face == "largest" else "each", paste_back, force)
        found = expand_paths(selfies)
        check_options(found, job)
        goals = plan_outputs(found, out, may_exist=force or found != selfies[:1])  # a folder is gone on with
        for goal in goals if not paste_back else []:
            job.look.check(OUTPUT_FORMATS.get(goal.suffix.lower(), "a clip"))
        workers = min(os.cpu_count() or 1, len(found))
        portraitist = Portraitist.open(model, device, threads=(os.cpu_count() or 1) // workers)
    except (BatchError, FinishError, ModelError, OSError) as error:
        _stop(_reason(error), 2)
    failed = before = 0
    with tqdm(total=len(found), desc="paint", disable=None, leave=False) as bar:
        for outcome in paint_batch(portraitist, found, goals, job, workers):
            for place in outcome.written:
                tqdm.write(str(place), sys.stdout)
            for fault in outcome.faults:
                tqdm.write(f"portraitist: {outcome.selfie}: {fault}", sys.stderr)
            failed += bool(outcome.faults)
            before += outcome.was_there
            bar.update()
    if before:
        print(
            f"portraitist: {before} {'is' if before == 1 else 'are'} there already; --force paints again",
            file=sys.stderr,
        )
    if failed:
        _stop(f"{failed} of {len(found)} selfies could not be painted, or not whole", 1)


@app.command()
def serve(
    model: Annotated[Path, typer.Option(help="What stage export left: a folder, or a file in it.")] = MODEL,
    host: Annotated[str, typer.Option(help="The address to listen at; other machines reach 0.0.0.0.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 8000,
    device: Annotated[str, typer.Option(help="cpu, cuda or coreml.")] = "cpu",
    megabytes: Annotated[float, typer.Option(min=0.1, max=64, help="Of one picture, at most.")] = 20.0,
    waiting: Annotated[int, typer.Option(min=0, max=1000, help="How many may wait in line.")] = 20,
    per_minute: Annotated[int, typer.Option(min=1, help="Pictures a minute from one address.")] = 30,
) -> None:
    """A page that paints: for your own browser, or for others'. No picture is kept."""
    import socket

    import uvicorn

    from portraitist.app import server
    from portraitist.app.avatar import ModelError, Portraitist

    workers = os.cpu_count() or 1
    own = host in ("127.0.0.1", "localhost", "::1")
    try:
        portraitist = Portraitist.open(model, device, threads=1)
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (ModelError, OSError) as error:
        _stop(_reason(error), 2)
    limits = server.Limits(megabytes, waiting, per_minute)
    made = server.create_app(portraitist, workers, limits, ["127.0.0.1", "localhost", "[::1]"] if own else ["*"])
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{listening.getsockname()[1]}/ (Ctrl-C ends)", flush=True)
    config = uvicorn.Config(made, log_level="critical", access_log=False, server_header=False, timeout_keep_alive=5)
    uvicorn.Server(config).run(sockets=[listening])


@app.command()
def export(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for the page.")],
    model: Annotated[Path, typer.Option(help="What stage export left: a folder, or a file in it.")] = MODEL,
    runtime: Annotated[Path | None, typer.Option(help="onnxruntime-web's .tgz, in place of asking npm.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a page that exists.")] = False,
) -> None:
    """Write a static page that paints on the visitor's own device: any web server may hand it out."""
    if out.exists() and not force:
        _stop(f"{out} exists; --force writes over it", 2)
    from portraitist.app import site_builder

    try:
        megabytes = site_builder.build_site(model, out, runtime)
    except (site_builder.SiteBuildError, OSError) as error:
        _stop(_reason(error), 2)
    look = f"python -m http.server --bind 127.0.0.1 -d {out}"
    print(f"{out}/index.html, {megabytes:.1f} MB of models; look at it by: {look}")


@app.command()
def peek(
    folder: Annotated[Path, typer.Argument(help="A folder of shards, such as data/crop.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to unpack into.")],
    count: Annotated[int, typer.Option(min=1, help="How many pictures.")] = 16,
) -> None:
    """Unpack the first pictures of a folder of shards, for eyes."""
    from portraitist.core.shards import INDEX_FILE, Shards

    if not (folder / INDEX_FILE).exists():
        _stop(f"{folder} holds no shards: {INDEX_FILE} is missing", 2)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _stop(f"{out} is not empty: what another peek left would lie among these pictures", 2)
    shards = Shards(folder)
    out.mkdir(parents=True, exist_ok=True)
    for picture in sorted(shards)[:count]:
        for ending, data in shards.members(picture).items():
            (out / f"{picture}.{ending}").write_bytes(data)
    print(f"{min(count, len(shards))} of {len(shards)} pictures in {out}")


@app.command()
def review(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for the pages.")] = Path("review"),
    force: Annotated[bool, typer.Option("--force", help="Write over pages that exist.")] = False,
) -> None:
    """Lay out what stage clean kept, as pages on which a person marks what to drop: `forget --marks` drops it."""
    from portraitist.tools.review import write_pages

    if not Path("data/clean/manifest.csv").exists():
        _stop("data/clean is missing: `dvc repro clean` makes it, `dvc checkout` brings it back", 2)
    if out.exists() and not force:
        _stop(f"{out} exists; --force writes over it", 2)
    pages = write_pages(Path("data"), out)
    count = f"{len(pages)} page{'s' * (len(pages) != 1)}"
    print(f"{count}; open {pages[0]} in a browser. They show persons: keep them off the web and out of git.")


@app.command()
def forget(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of pictures or faces, files, addresses, groups or their folders, blocklist lines."),
    ] = None,
    marks: Annotated[list[Path] | None, typer.Option(help="What a review page gave you to download.")] = None,
    because: Annotated[str, typer.Option(help="Why, for the blocklist, which is in git: name no one.")] = "forgotten",
    repro: Annotated[bool, typer.Option("--repro", help="Run the pipeline without them at once.")] = False,
) -> None:
    """Remove pictures, their copies, and all that was made of them; say what still holds them."""
    from portraitist.collect.blocklist import Blocklist, BlocklistError
    from portraitist.tools import forget as oblivion

    here = Path()
    try:
        marked = [line for path in marks or [] for line in sorted(Blocklist.read(path, missing_ok=False).entries)]
        if not (words or marked):
            _stop("nothing to forget: name pictures, or give --marks", 2)
        forgotten = oblivion.find(here, [*(words or []), *marked])
        fresh = oblivion.block(here, forgotten, because)
    except (BlocklistError, oblivion.UnknownError, OSError) as error:
        _stop(_reason(error), 2)
    for note in forgotten.notes:
        print(note)
    count, lines = len(forgotten.ids), len(fresh)
    print(f"{count} picture{'s' * (count != 1)} here; {lines} line{'s' * (lines != 1)} added to {oblivion.BLOCKLIST}")
    for word, near in forgotten.missed.items():
        told = "names NOTHING that is here; it is blocked for what comes later"
        print(f"portraitist: {word}: {told}{near and '; '}{near}", file=sys.stderr)
    held = oblivion.holders(here, forgotten.ids)
    lost = oblivion.purge(here, forgotten.ids)
    for source, count in lost.items():
        print(f"data/raw/{source}: {count} taken out")
    if lost and Path(".dvc").is_dir():  # or DVC would collect again, for the folder is not as it left it
        _dvc("commit", "--force", *(f"collect@{source}" for source in lost))
    if held:
        print(f"made of them, until {'now' if repro else '`dvc repro`'}: {', '.join(held)}")
    if repro:
        _dvc("repro")
    print("What no stage clears:")
    for line in oblivion.remains(here, forgotten.ids):
        print(f"- {line}")
    if forgotten.missed:
        _stop("not all words named a picture; see above", 1)


def _dvc(*words: str) -> None:
    beside = Path(sys.executable).with_name("dvc")
    command = str(beside) if beside.exists() else shutil.which("dvc")
    if not command or subprocess.run([command, *words], check=False).returncode:
        _stop(f"`dvc {' '.join(words)}` did not do; run it before anything else", 1)


@app.command()
def judge(
    painted: Annotated[list[Path], typer.Argument(help="What methods painted: data/paint/<method>, two or more.")],
    selfies: Annotated[Path, typer.Option(help="The selfies they painted.")] = Path("data/crop"),
    answers: Annotated[Path, typer.Option(help="The CSV that answers are added to.")] = Path("metrics/judge.csv"),
    count: Annotated[int, typer.Option(min=1, help="How many questions.")] = 50,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any that is free.")] = 0,
) -> None:
    """Show two avatars of one face, blind, on a page of this machine, and keep what you prefer."""
    import random

    from portraitist.core.shards import INDEX_FILE, Shards
    from portraitist.tools.preference_server import PreferenceServer

    for folder in [*painted, selfies]:
        if not (folder / INDEX_FILE).exists():
            _stop(f"{folder} holds no shards: {INDEX_FILE} is missing", 2)
    try:
        shown = {folder.name: Shards(folder) for folder in painted}
        server = PreferenceServer(shown, Shards(selfies), answers, count, random.Random(), port)
    except (ValueError, OSError) as error:
        _stop(_reason(error), 2)
    with server:
        print(f"{len(server.open)} questions at {server.address} (Ctrl-C ends)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"\n{server.at} answered; `dvc repro` counts them in metrics/report.html")


@app.command()
def events(
    logs: Annotated[Path, typer.Argument(help="The folder of the trainings' logs.")] = Path("logs"),
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder for the event files.")] = Path("runs"),
    follow: Annotated[bool, typer.Option("--follow", help="Go on with trainings that run, until Ctrl-C.")] = False,
) -> None:
    """Write the logs of trainings for TensorBoard: `tensorboard --logdir runs` draws them."""
    import time

    from portraitist.core.training_log import LIVE_SUFFIX
    from portraitist.tools.tensorboard import LogFormatError, TensorboardWriter

    runs = TensorboardWriter(logs, out)
    try:
        count = runs.catch_up()
        if not (count or follow):
            what = f"holds no *{LIVE_SUFFIX}" if logs.is_dir() else "is no folder"
            _stop(f"{logs} {what}: a training writes its log while it runs", 2)
        print(f"{count} run{'s' * (count != 1)} in {out}; look at them by: tensorboard --logdir {out}", flush=True)
        while follow:
            time.sleep(FOLLOW_S)
            runs.catch_up()
    except (LogFormatError, OSError) as error:
        _stop(_reason(error), 2)
    except KeyboardInterrupt:
        pass


def _reason(error: Exception) -> str:
    """In one line; of the system's errors the file, if they are of one, and no number."""
    said, file = (getattr(error, name, None) for name in ("strerror", "filename"))
    return f"{file}: {said}" if said and file else str(said or error)


def _stop(message: str, code: int) -> NoReturn:
    print(f"portraitist: {message}", file=sys.stderr)
    raise typer.Exit(code)
