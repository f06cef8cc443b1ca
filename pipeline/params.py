"""Parameters for a stage: an invalid value ends it with one line and exit code 1, before any work starts."""

import importlib
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from portraitist.core.params import ParamsError, Section, load, load_methods

S = TypeVar("S", bound=Section)
Result = TypeVar("Result")


def load_or_exit(section: type[S], name: str) -> S:
    """Load one section, after every section has been validated."""
    return _or_exit(lambda: load(section, name))


def load_methods_or_exit() -> dict[str, dict[str, Any]]:
    """Load the section of each method, in the order of params.yaml."""
    return _or_exit(load_methods)


def _or_exit(read: Callable[[], Result]) -> Result:
    try:
        # by name: a test requires the stage to list all code that it imports, but this one cannot change an output
        importlib.import_module("portraitist.all_params").check_all()
        return read()
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")
