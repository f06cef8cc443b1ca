"""Code that the stage scripts share: load parameters, parse command-line options, and print errors as one line."""

import argparse
import hashlib
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType, ModuleType, TracebackType
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from portraitist.core.params import ParamsError, Section, load, load_methods, load_sources, read_files

EXPERIMENTS = (".dvc", "tmp", "exps")  # folder in which `dvc exp run --temp` and `--queue` run a copy of the git files
STOPPED = "stopped by {}; run the same command to run the stage again; a training resumes where it stopped"
LOCKS = Path(".locks")  # one file per running command; a training also locks the folder of its saved state
S = TypeVar("S", bound=Section)
Result = TypeVar("Result")

_locks: list[FileLock] = []  # locks that this process holds


def path_options(*names: str, words: Sequence[str] = (), optional: Sequence[str] = ()) -> list[Any]:
    """Parse the options of a stage script, such as --crops data/crop, and prepare the process to run the stage.

    If another process runs the same command, this process exits.

    Args:
        names: required options whose values are paths.
        words: required options whose values are strings.
        optional: optional options whose values are paths.

    Returns:
        The values of names, words and optional, in this order; None for an optional option that is missing.
    """
    _print_errors_as_one_line()
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    for name in words:
        parser.add_argument(f"--{name}", required=True)
    for name in optional:
        parser.add_argument(f"--{name}", type=Path, metavar="PATH")
    arguments = vars(parser.parse_args())
    _lock_or_exit()
    return [arguments[name.replace("-", "_")] for name in (*names, *words, *optional)]


def _print_errors_as_one_line() -> None:
    """Print expected errors (a full disk, a missing file, Ctrl-C, SIGTERM) as one line instead of a traceback."""
    sys.excepthook = print_error
    signal.signal(signal.SIGTERM, partial(_exit_on_signal, os.getpid()))


def _lock_or_exit() -> None:
    """Exit if another process runs the same command; otherwise, hold a lock until this process ends.

    DVC has locks of its own, but if DVC is killed, the process of a stage may continue without them.
    """
    if os.environ.get("RANK", "0") != "0":  # torchrun starts several processes; only the first one locks
        return
    stage, digest = Path(sys.argv[0]).stem, hashlib.sha256("\0".join(sys.argv[1:]).encode()).hexdigest()[:16]
    LOCKS.mkdir(exist_ok=True)
    lock = FileLock(LOCKS.absolute() / f"{stage}-{digest}.lock", timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        found = "another process runs this stage with the same paths; it may be left from a DVC run that was killed"
        advice = f"wait for it to finish, or find it by `pgrep -f pipeline.{stage}` and stop it"
        sys.exit(f"portraitist: {stage}: {found}; {advice}")
    _locks.append(lock)  # kept, because a lock is released when its object is deleted


def print_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print system errors and errors of this package as one line, other errors with a traceback.

    This function is the `sys.excepthook` of the stage scripts.
    """
    parts: list[object]
    if isinstance(error, KeyboardInterrupt):
        parts = [STOPPED.format("Ctrl-C")]
    elif isinstance(error, OSError):
        parts = [error.filename, error.strerror or error]
    elif kind.__module__.startswith("portraitist."):
        parts = [error]
    else:
        sys.__excepthook__(kind, error, traceback)
        return
    _print_line(*parts)


def _exit_on_signal(main_process: int, number: int, frame: FrameType | None) -> None:
    """Handle a signal by raising SystemExit, so that temporary files are removed and worker processes end."""
    if os.getpid() == main_process:  # forked worker processes print nothing
        _print_line(STOPPED.format(signal.Signals(number).name))
    sys.exit(128 + number)


def _print_line(*parts: object) -> None:
    stage = Path(sys.argv[0]).stem
    print(": ".join([f"portraitist: {stage}", *(str(part) for part in parts if part)]), file=sys.stderr)


def load_or_exit(section: type[S], name: str) -> S:
    """Validate all of params.yaml, and return one section; exit with one line if a value cannot be used."""
    params = _or_exit(lambda: load(section, name))
    for key, value in params:
        if isinstance(value, Path):
            _check_experiment_path(f"{name}.{key}", value, Path.cwd())
    return params


def _check_experiment_path(key: str, path: Path, folder: Path) -> None:
    """Exit if this experiment runs in a copy of the workspace, and the copy lacks files of the user's folder `path`.

    Queued and temporary experiments run in a copy that contains only files that git tracks.

    Args:
        key: the parameter that names the folder, for the message.
        path: the folder.
        folder: the current folder.
    """
    parts, size = folder.parts, len(EXPERIMENTS)
    depth = next((depth for depth in range(len(parts)) if parts[depth : depth + size] == EXPERIMENTS), None)
    if depth is None or path.is_absolute():
        return
    workspace = Path(*parts[:depth]) / path
    here, there = (sum(file.is_file() for file in top.rglob("[!.]*")) for top in (folder / path, workspace))
    if here < there:
        found = f"{path} has {here} files in the experiment's folder, and {there} in the workspace"
        reason = "queued and temporary experiments run in a copy without the files that git ignores"
        sys.exit(f"portraitist: {key}: {found}: {reason}; set an absolute path: -S {key}={workspace}")


def profile_path() -> Path:
    """Return the path of the profile that params.yaml selects, such as profiles/sample.yaml."""
    return Path("profiles") / f"{_or_exit(lambda: read_files(Path()))[0]['profile']}.yaml"


def load_sources_or_exit() -> list[str]:
    """Validate all of params.yaml, and return `sources`; exit with one line if a value is invalid."""
    return _or_exit(load_sources)


def check_sources_or_exit(sources: Path, raw: Path) -> None:
    """Exit with one line if params.yaml lists no source, or if a listed source has not been collected.

    Args:
        sources: output of stage sources: a folder with one file per listed source.
        raw: output of stage collect: a folder with one folder per source.
    """
    names = sorted(path.name for path in sources.iterdir())
    if not names:
        sys.exit(f"portraitist: {sources} has no source; set `sources` in params.yaml, and run `dvc repro sources`")
    collected = sorted(path.parent.name for path in raw.glob("*/manifest.csv"))
    missing = [name for name in names if name not in collected]
    if missing:
        found = f"{raw} has no manifest of source {', '.join(missing)}; found: {', '.join(collected) or 'none'}"
        sys.exit(f"portraitist: {found}; run `dvc repro {' '.join(f'collect@{name}' for name in missing)}`")


def load_methods_or_exit() -> dict[str, dict[str, Any]]:
    """Validate all of params.yaml, and return the section of each method, in the order of params.yaml."""
    return _or_exit(load_methods)


def check_methods_or_exit() -> None:
    """Validate the parameters of every method; exit with one line if a value is invalid."""
    _or_exit(_all_params().check_methods)


def _or_exit(read: Callable[[], Result]) -> Result:
    try:
        _all_params().check_all()
        return read()
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def _all_params() -> ModuleType:
    """Import `portraitist.all_params` by name, so that it is not listed as a dependency of every stage.

    The module imports the parameters of all stages, but it cannot change what a stage writes.
    """
    return importlib.import_module("portraitist.all_params")


# A stage script imports this module first. Ctrl-C may come while it then imports pandas or torch, which takes seconds.
_script = getattr(sys.modules["__main__"], "__spec__", None)
if _script is not None and _script.name.startswith("pipeline."):
    _print_errors_as_one_line()
