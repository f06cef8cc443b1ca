"""The command `portraitist`: painting, the web server, and tools for experiments and training data."""

import errno
import io
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from portraitist.cli import console, dataset, experiments, painting, serving
from portraitist.cli.extras import install_hint

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,  # print errors as plain lines, not in boxes, which would break long file names
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    painting.paint,
    painting.styles,
    serving.serve,
    serving.site,
    experiments.compare,
    experiments.tensorboard,
):
    app.command()(command)
app.add_typer(dataset.app, name="dataset")


def main() -> None:
    """Run the command line; if a package is missing, print the command that installs it and exit with code 2."""
    if sys.stderr is None:  # the caller has closed it
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    if "" in sys.argv[1:]:  # for example "$X" in a script, if X is not set; as a path, it would be the current folder
        console.note("an argument is empty; leave it out, or give it a value")
        sys.exit(console.INVALID)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for file names that the terminal cannot show
    try:
        app(prog_name="portraitist")
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename:
            raise
        console.note(f"standard output: {error.strerror}")
        sys.exit(console.FAILED)
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        if module == "portraitist":
            raise
        console.note(f"the package {module} is missing: {install_hint(module)}")
        sys.exit(console.INVALID)


def _print_version(value: bool) -> bool:
    if value:
        from portraitist import __version__

        print(__version__)
        raise typer.Exit
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn selfies into hand-painted avatars.

    Example: portraitist paint me.jpg -o avatar.png
    """
