"""Commands for the training data: `portraitist dataset ...`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from portraitist.cli.console import FAILED, INVALID, check_shards, describe, fail, note

app = typer.Typer(help="Inspect and edit the training data.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def unpack(
    folder: Annotated[
        Path,
        typer.Argument(help="The output folder of a stage, with pictures in tar files (shards), such as data/crop."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; must be empty or missing.")],
    count: Annotated[int, typer.Option(min=1, help="Number of pictures.")] = 16,
) -> None:
    """Unpack the first pictures of a stage's output, which are stored in tar files (shards).

    Example: portraitist dataset unpack data/crop -o crops --count 50
    """
    from portraitist.core.shards import Shards

    check_shards(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        fail(f"{out} is not an empty folder; choose another one with -o", INVALID)
    shards = Shards(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for picture in sorted(shards)[:count]:
            for suffix, data in shards.members(picture).items():
                (out / f"{picture}.{suffix}").write_bytes(data)
    except OSError as error:
        fail(describe(error), INVALID)
    print(f"{min(count, len(shards))} of {len(shards)} pictures in {out}")


@app.command()
def review(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder for the pages.")] = Path("review"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite existing pages.")] = False,
) -> None:
    """Create web pages that show the pictures accepted by stage `clean`, and on which you mark pictures to remove.

    Example: portraitist dataset review

    Example: portraitist dataset forget --marks marks.txt
    """
    from portraitist.tools.review import PAGES, write_pages

    if not Path("data/clean/manifest.csv").exists():
        fail("data/clean is missing; run `dvc repro clean`, or restore it with `dvc checkout`", INVALID)
    if out.exists() and not out.is_dir():
        fail(f"{out} is not a folder; choose another one with -o", INVALID)
    if any(out.glob(PAGES)) and not force:
        fail(f"{out} contains review pages; --force overwrites them", INVALID)
    try:
        pages = write_pages(Path("data"), out)
    except OSError as error:
        fail(describe(error), INVALID)
    count = f"{len(pages)} page{'s' * (len(pages) != 1)}"
    print(f"{count}; open {pages[0]} in a browser. The pages show people: do not publish or commit them.")


@app.command()
def forget(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to remove: ids of pictures or faces, file names, URLs, folders, groups (all pictures of a "
            "person or an artist), or lines of a blocklist."
        ),
    ] = None,
    marks: Annotated[list[Path] | None, typer.Option(help="File of marks that you saved on a review page.")] = None,
    because: Annotated[
        str, typer.Option(help="Reason to write into the blocklist. It is committed to git: name no person.")
    ] = "forgotten",
    repro: Annotated[
        bool,
        typer.Option(
            "--repro", help="Run `dvc repro` afterwards, which rebuilds all later results without the pictures."
        ),
    ] = False,
) -> None:
    """Remove pictures from the collected data. `--repro` also removes everything that was made from them.

    Some copies must be removed by hand; the command lists them.

    Example: portraitist dataset forget selfies/anna --because withdrawn --repro
    """
    from portraitist.collect.blocklist import Blocklist, BlocklistError
    from portraitist.core.files import LockedError
    from portraitist.tools import forget as forgetting

    root = Path()
    try:
        marked = [line for path in marks or [] for line in sorted(Blocklist.read(path, missing_ok=False).entries)]
        if not (names or marked):
            fail("nothing to forget: name pictures, or pass --marks", INVALID)
        forgotten = forgetting.find(root, [*(names or []), *marked])
        added = forgetting.block(root, forgotten, because)
        responses = forgetting.purge_responses(root)
    except (BlocklistError, LockedError, forgetting.UnknownError, OSError) as error:
        fail(describe(error), INVALID)
    for line in forgotten.notes:
        print(line)
    count, lines = len(forgotten.ids), len(added)
    advice = "; commit this file, because `git checkout` and `dvc exp apply` discard changes" if lines else ""
    print(
        f"{count} picture{'s' * (count != 1)} found; {lines} line{'s' * (lines != 1)} added to {forgetting.BLOCKLIST}"
        f"{advice}"
    )
    for name, similar in forgotten.missed.items():
        message = "matches nothing in the data; it is on the blocklist now, so future runs reject it"
        note(f"{name}: {message}{similar and '; '}{similar}")
    derived = forgetting.derived_outputs(root, forgotten.ids)
    is_current = _are_current() if Path(".dvc").is_dir() else {}
    removed = forgetting.purge(root, forgotten.ids)
    for source, count in removed.items():
        print(f"data/raw/{source}: {count} removed")
    if responses:
        print(f".fetch-cache: {responses} removed")
    current = sorted(source for source in removed if is_current.get(source))
    if current:  # otherwise, DVC would restore or collect the pictures again
        _dvc("commit", "--force", *(f"collect@{source}" for source in current))
    for source in sorted(source for source in removed if is_current.get(source) is False):
        # a commit would hide the other changes from DVC
        note(f"{source}: its pictures or parameters have changed; `dvc repro` collects again, without these pictures")
    if derived:
        print(f"still contain or depend on them, until {'now' if repro else '`dvc repro`'}: {', '.join(derived)}")
    if repro:
        _dvc("repro")
    print("Not removed by any stage:")
    for line in forgetting.remaining_steps(root, forgotten.ids):
        print(f"- {line}")
    if forgotten.missed:
        fail("some names matched no picture; see above", FAILED)


@app.command()
def cache() -> None:
    """Show the size of .fetch-cache, the folder in which stage `collect` stores its downloads.

    Example: portraitist dataset cache
    """
    from portraitist.collect.response_store import store_folder, total_megabytes, usage

    folder = store_folder()
    print(f"{'source':<12} {'pictures':>8} {'pages':>8} {'failures':>8} {'MB':>8}  oldest .. newest")
    for row in usage(folder):
        counts = f"{row.pictures:>8} {row.pages:>8} {row.failures:>8} {row.megabytes:>8.1f}"
        print(f"{row.source:<12} {counts}  {row.oldest[:10]} .. {row.newest[:10]}")
    print(f"{total_megabytes(folder):.1f} MB in {folder}")


@app.command("clear-cache")
def clear_cache(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Names of sources. [default: all]", show_default=False)
    ] = None,
) -> None:
    """Remove downloads from .fetch-cache. The data folder is not changed. The next run of `collect` downloads again.

    Example: portraitist dataset clear-cache commons

    Example: dvc repro --force --single-item collect@commons
    """
    from portraitist.collect.response_store import clear, source_names, store_folder, total_megabytes
    from portraitist.core.files import LockedError

    folder = store_folder()
    stored = source_names(folder)
    unknown = [source for source in sources or [] if source not in stored]
    if unknown:
        fail(f"{unknown[0]}: no such source in {folder}; available: {', '.join(stored) or 'none'}", INVALID)
    before = total_megabytes(folder)
    try:
        clear(folder, sources or ())
    except LockedError as error:
        fail(str(error), INVALID)
    print(f"{before - total_megabytes(folder):.1f} MB removed from {folder}")
    for source in sources or stored:
        print(f"to download again: dvc repro --force --single-item collect@{source}")


def _are_current() -> dict[str, bool]:
    """Return, for each collected source that is in use, whether its inputs are those of the last run.

    The inputs are the user's folder, the parameters and the code. Sources that DVC does not know are left out. Without
    DVC, all sources count as unchanged; the commit then fails with a message.
    """
    sources, command = [path.name for path in Path("data/raw").glob("*")], _dvc_command()
    if command is None:
        return dict.fromkeys(sources, True)
    current = {}
    for source in sources:
        stage = f"collect@{source}"
        done = subprocess.run([*command, "status", "--json", stage], check=False, capture_output=True, text=True)
        if done.returncode == 0:
            changes = json.loads(done.stdout).get(stage, [])
            current[source] = not any(isinstance(change, str) or "changed deps" in change for change in changes)
    return current


def _dvc(*arguments: str) -> None:
    command = _dvc_command()
    if command is None or subprocess.run([*command, *arguments], check=False).returncode:
        fail(f"`dvc {' '.join(arguments)}` failed; repeat it before you run other commands", FAILED)


def _dvc_command() -> list[str] | None:
    """Return the command of DVC in this environment, or else the one on the path; None if DVC is not installed."""
    sibling = Path(sys.executable).with_name("dvc")
    command = str(sibling) if sibling.exists() else shutil.which("dvc")
    return [command] if command else None
