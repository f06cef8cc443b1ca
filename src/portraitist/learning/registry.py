"""Registry of methods: look them up by name, validate their params, build them.

A method consists of the file methods/<name>.py with one class, decorated with `@register(Params)`, of a section with
its own values in params.yaml, and of a line in dvc.yaml.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from portraitist.core.params import ParamsError, Section, format_validation_error
from portraitist.learning import method_names
from portraitist.learning.method import Shared, Trainable, UpstreamModels

T = TypeVar("T", bound=Trainable)


@dataclass(frozen=True)
class _Entry:
    trainable: Callable[..., Trainable]
    params: type[Section]


_REGISTRY: dict[str, _Entry] = {}


def register(params: type[Section]) -> Callable[[type[T]], type[T]]:
    """Register the decorated class, which is built from `params`, under the name of its file."""

    def decorate(trainable: type[T]) -> type[T]:
        _REGISTRY[trainable.__module__.rpartition(".")[2]] = _Entry(trainable, params)
        return trainable

    return decorate


def build(name: str, params: Mapping[str, Any], upstream: UpstreamModels | None = None) -> Trainable:
    """Build a method for training or, without `upstream`, only what painting needs.

    Raises:
        ParamsError: there is no such method, or its params are invalid.
        ValueError: an upstream model that the method needs is missing.
    """
    return _entry(name).trainable(check_params(name, params), upstream)


def params_class(name: str) -> type[Section]:
    """Return the class of a method's params.

    Raises:
        ParamsError: there is no such method.
    """
    return _entry(name).params


def method_settings(name: str, sections: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return all params of a method: its own section of params.yaml, and the values marked `Shared`.

    Args:
        name: name of the method.
        sections: the sections of params.yaml whose values methods share, by name.
        own: the method's own section, which has precedence.

    Raises:
        ParamsError: there is no such method, or its params are invalid.
    """
    shared = {
        key: sections[marker.section][key]
        for key, field in params_class(name).model_fields.items()
        for marker in field.metadata
        if isinstance(marker, Shared) and key in sections[marker.section]
    }
    settings = shared | dict(own)
    check_params(name, settings)
    return settings


def check_params(name: str, params: Mapping[str, Any]) -> Section:
    """Validate a method's params.

    Raises:
        ParamsError: there is no such method, or its params are invalid.
    """
    try:
        return params_class(name).model_validate(dict(params))
    except ValidationError as error:
        raise ParamsError(format_validation_error(f"methods.{name}", error)) from None


def _entry(name: str) -> _Entry:
    if name not in method_names():
        raise ParamsError(f"unknown method {name!r}; available: {', '.join(method_names())}")
    importlib.import_module(f"portraitist.methods.{name}")  # registers it
    return _REGISTRY[name]
