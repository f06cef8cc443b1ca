"""Find, check and build methods by name."""

import importlib
import sys
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from portraitist.core.params import (
    ParamsError,
    Section,
    format_validation_error,
    load,
    load_methods,
)
from portraitist.crop.params import CropParams
from portraitist.methods import method_names
from portraitist.methods.base import Trainable
from portraitist.train.params import GeneratorParams, TrainParams


def build(name: str, params: dict[str, Any]) -> Trainable:
    """The learner of methods/<name>.py.

    Raises:
        ParamsError: As `checked`.
    """
    section = check_params(name, params)
    return _trainable_class(name)(section)


def method_settings(name: str, offered: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a method is told: its own section, and what it asks for of that which all are offered.

    Raises:
        ParamsError: As `checked`.
    """
    if name not in method_names():
        raise ParamsError(f"no method {name!r}; there are {', '.join(method_names())}")
    asked = _module(name).Params.model_fields
    settings = {key: value for key, value in offered.items() if key in asked} | own
    check_params(name, settings)
    return settings


def check_all_methods_or_exit(root: Path = Path()) -> None:
    """A method's wrong value ends the first training, not the last: one line and exit code 1."""
    sections: dict[str, type[Section]] = {"generator": GeneratorParams, "train": TrainParams, "crop": CropParams}
    try:
        offered = {key: value for name, shape in sections.items() for key, value in load(shape, name, root)}
        for name, own in load_methods(root).items():
            method_settings(name, offered, own)
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


def check_params(name: str, params: dict[str, Any]) -> Section:
    """A method's params in its own shape.

    Raises:
        ParamsError: There is no such file, or its params are not what it allows.
    """
    if name not in method_names():
        raise ParamsError(f"no method {name!r}; there are {', '.join(method_names())}")
    try:
        return _module(name).Params.model_validate(params)
    except ValidationError as error:
        raise ParamsError(format_validation_error(f"methods.{name}", error)) from None


def _module(name: str) -> Any:
    return importlib.import_module(f"portraitist.methods.{name}")


def _trainable_class(name: str) -> type[Trainable]:
    """Return the one trainable class that methods/<name>.py defines."""
    module = _module(name)
    own = [found for found in vars(module).values() if isinstance(found, type) and found.__module__ == module.__name__]
    (found,) = [found for found in own if issubclass(found, Trainable)]
    return found
