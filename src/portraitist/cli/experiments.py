"""Commands for experiments: `portraitist compare` and `portraitist tensorboard`."""

from pathlib import Path
from typing import Annotated

import typer

from portraitist.cli.console import INVALID, check_shards, describe, fail

POLL_S = 2.0  # interval at which `tensorboard --follow` reads the logs


def compare(
    methods: Annotated[list[Path], typer.Argument(help="Two or more folders of avatars: data/paint/<method>.")],
    selfies: Annotated[Path, typer.Option(help="Folder with the selfies from which the avatars were painted.")] = Path(
        "data/crop"
    ),
    answers: Annotated[Path, typer.Option(help="CSV file to which the answers are appended.")] = Path(
        "metrics/preferences.csv"
    ),
    count: Annotated[int, typer.Option(min=1, help="Number of questions.")] = 50,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 chooses a free one.")] = 0,
) -> None:
    """Serve a page for blind comparisons, on which people choose the better of two avatars of the same face.

    Example: portraitist compare data/paint/cartoongan data/paint/masked_cartoongan
    """
    import random

    from portraitist.core.shards import Shards
    from portraitist.tools.preference_server import PreferenceServer

    for folder in [*methods, selfies]:
        check_shards(folder)
    names = [folder.name for folder in methods]
    if repeated := [name for name in names if names.count(name) > 1]:
        fail(
            f"several folders are called {repeated[0]}; answers are stored by this name, so rename or copy one", INVALID
        )
    try:
        shards = {folder.name: Shards(folder) for folder in methods}
        server = PreferenceServer(shards, Shards(selfies), answers, count, random.Random(), port)
    except (ValueError, OSError) as error:
        fail(describe(error), INVALID)
    with server:
        print(f"{len(server.questions)} questions at {server.address} (Ctrl-C stops)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print(f"\n{server.answered} answered; `dvc repro compare` adds them to metrics/report.html")


def tensorboard(
    logs: Annotated[Path, typer.Argument(help="Folder with the logs of trainings.")] = Path("logs"),
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder for the event files.")] = Path("runs"),
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue until Ctrl-C, and convert new rows of running trainings.")
    ] = False,
) -> None:
    """Convert training logs to TensorBoard event files.

    Example: portraitist tensorboard --follow

    In a second terminal: tensorboard --logdir runs
    """
    import time

    from portraitist.core.training_log import PLOTS_FOLDER
    from portraitist.tools.tensorboard import LogFormatError, TensorboardWriter

    writer = TensorboardWriter(logs, out)
    try:
        count = writer.catch_up()
        if not (count or follow):
            problem = f"contains no folder {PLOTS_FOLDER}" if logs.is_dir() else "is not a folder"
            fail(f"{logs} {problem}; train a method first, or name the folder that contains the logs", INVALID)
        print(f"{count} run{'s' * (count != 1)} in {out}; view with: tensorboard --logdir {out}", flush=True)
        while follow:
            time.sleep(POLL_S)
            writer.catch_up()
    except (LogFormatError, OSError) as error:
        fail(describe(error), INVALID)
    except KeyboardInterrupt:
        pass
