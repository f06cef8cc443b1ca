"""What every stage script needs: its parameters, and its paths as named options."""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from portraitist.core.params import ParamsError, Section, load, load_methods, read_files

S = TypeVar("S", bound=Section)
Result = TypeVar("Result")


def path_options(*names: str, words: Sequence[str] = (), optional: Sequence[str] = ()) -> list[Any]:
    """Parse the command line, which consists of named options only, such as --crops data/crop.

    Returns the values in the order of the arguments: a Path for each of the required `names`, a string for each of the
    required `words`, and a Path for each of the `optional` names, None where the option is missing.
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name in names:
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH")
    for name in words:
        parser.add_argument(f"--{name}", required=True)
    for name in optional:
        parser.add_argument(f"--{name}", type=Path, metavar="PATH")
    arguments = vars(parser.parse_args())
    return [arguments[name.replace("-", "_")] for name in (*names, *words, *optional)]


def load_or_exit(section: type[S], name: str) -> S:
    """Load one section, after every section has been validated; exit with one line if a value is invalid."""
    return _or_exit(lambda: load(section, name))


def profile_path() -> Path:
    """Return the path of the profile that params.yaml names."""
    return Path("profiles") / f"{_or_exit(lambda: read_files(Path()))[0]['profile']}.yaml"


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
    """Import the module by name, so that it is no dependency of the stages: it cannot change their outputs."""
    return importlib.import_module("portraitist.all_params")
