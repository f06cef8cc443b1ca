"""Helpers of the stage scripts: load parameters, parse paths from named options, print errors as one line."""

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

EXPERIMENTS = (".dvc", "tmp", "exps")  # where `dvc exp run --temp` and `--queue` run, on a copy of what git tracks
STOPPED = "stopped by {}; the same command runs the stage again, and resumes a training"
LOCKS = Path(".locks")  # of trainings, the saved states have locks as well
S = TypeVar("S", bound=Section)
Result = TypeVar("Result")

_locks: list[FileLock] = []  # of this process


def path_options(*names: str, words: Sequence[str] = (), optional: Sequence[str] = ()) -> list[Any]:
    """Parse the command line, which consists of named options only, such as --crops data/crop.

    Returns the values in the order of the arguments: a Path for each of the required `names`, a string for each of the
    required `words`, and a Path for each of the `optional` names, None where the option is missing. After the call, a
    full disk, a missing file, an unusable checkpoint, Ctrl-C or SIGTERM ends the stage with one line instead of a
    traceback, and a second process with the same command line exits.
    """
    sys.excepthook = print_error
    signal.signal(signal.SIGTERM, partial(_exit_on_signal, os.getpid()))
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


def _lock_or_exit() -> None:
    """Lock the outputs of this command until the process ends, also against a run whose DVC was killed."""
    if os.environ.get("RANK", "0") != "0":  # torchrun starts several processes, of which the first one locks
        return
    stage, digest = Path(sys.argv[0]).stem, hashlib.sha256("\0".join(sys.argv[1:]).encode()).hexdigest()[:16]
    LOCKS.mkdir(exist_ok=True)
    lock = FileLock(LOCKS.absolute() / f"{stage}-{digest}.lock", timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        found = "another process runs this stage with the same paths, maybe one whose DVC was killed"
        sys.exit(f"portraitist: {stage}: {found}; wait for it to finish, or stop it: `pgrep -f pipeline.{stage}`")
    _locks.append(lock)  # it is released when it is deleted


def print_error(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Print system errors and the package's own errors as one line, others with a traceback (a `sys.excepthook`)."""
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
    """Raise SystemExit, so that temporary files are removed and worker processes end (a signal handler)."""
    if os.getpid() == main_process:  # not a forked worker, which its parent stops
        _print_line(STOPPED.format(signal.Signals(number).name))
    sys.exit(128 + number)


def _print_line(*parts: object) -> None:
    stage = Path(sys.argv[0]).stem
    print(": ".join([f"portraitist: {stage}", *(str(part) for part in parts if part)]), file=sys.stderr)


def load_or_exit(section: type[S], name: str) -> S:
    """Load one section, after every section has been validated; exit with one line if a value cannot be used."""
    params = _or_exit(lambda: load(section, name))
    for key, value in params:
        if isinstance(value, Path):
            _check_experiment_path(f"{name}.{key}", value, Path.cwd())
    return params


def _check_experiment_path(key: str, path: Path, folder: Path) -> None:
    """Exit if git-ignored files below `path` exist in the workspace, but not in the experiment's copy of it."""
    parts, size = folder.parts, len(EXPERIMENTS)
    depth = next((depth for depth in range(len(parts)) if parts[depth : depth + size] == EXPERIMENTS), None)
    if depth is None or path.is_absolute():
        return
    workspace = Path(*parts[:depth]) / path
    here, there = (sum(file.is_file() for file in top.rglob("[!.]*")) for top in (folder / path, workspace))
    if here < there:
        found = f"{path} has {here} files in the experiment's folder, and {there} in the workspace"
        reason = "queued and temporary experiments do not see files that git ignores"
        sys.exit(f"portraitist: {key}: {found}: {reason}; set an absolute path: -S {key}={workspace}")


def profile_path() -> Path:
    """Return the path of the profile that params.yaml names."""
    return Path("profiles") / f"{_or_exit(lambda: read_files(Path()))[0]['profile']}.yaml"


def load_sources_or_exit() -> list[str]:
    """Load the names of the sources in use, after every section has been validated."""
    return _or_exit(load_sources)


def check_sources_or_exit(sources: Path, raw: Path) -> None:
    """Exit with one line if no source is in use, or if one of them has not been collected.

    Args:
        sources: output of stage sources, a file for each source in use.
        raw: output of stage collect, a folder for each source.
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
    """Load the section of each method, in the order of params.yaml."""
    return _or_exit(load_methods)


def check_methods_or_exit() -> None:
    """Validate the values of every method."""
    _or_exit(_all_params().check_methods)


def _or_exit(read: Callable[[], Result]) -> Result:
    try:
        _all_params().check_all()
        return read()
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def _all_params() -> ModuleType:
    """Import the module by name, so that it does not become a dependency of the stages: it cannot change outputs."""
    return importlib.import_module("portraitist.all_params")
