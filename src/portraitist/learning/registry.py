"""Registry of methods: look a method up by name, validate its parameters, and build it.

A method consists of three parts: the file methods/<name>.py with one class, which is decorated with
`@register(Params)`; a section `methods.<name>` in params.yaml; and a line in dvc.yaml.
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
    """Return a decorator that registers the class of a method. The method's name is the name of the class's file.

    Args:
        params: class that validates the method's parameters.
    """

    def decorate(trainable: type[T]) -> type[T]:
        _REGISTRY[trainable.__module__.rpartition(".")[2]] = _Entry(trainable, params)
        return trainable

    return decorate


def build(name: str, params: Mapping[str, Any], upstream: UpstreamModels | None = None) -> Trainable:
    """Build the networks of a method.

    Args:
        name: name of the method.
        params: values of all its parameters.
        upstream: outputs of earlier stages, to build the method for training. None builds only what painting needs.

    Raises:
        ParamsError: there is no such method, or its parameters are invalid.
        ValueError: `upstream` lacks a model that the method needs.
    """
    return _entry(name).trainable(check_params(name, params), upstream)


def params_class(name: str) -> type[Section]:
    """Return the class that validates a method's parameters.

    Raises:
        ParamsError: there is no such method.
    """
    return _entry(name).params


def method_settings(name: str, sections: Mapping[str, Mapping[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of all parameters of a method: those in its own section, and those annotated with `Shared`.

    Args:
        name: name of the method.
        sections: the other sections of params.yaml, by name, from which `Shared` values are read.
        own: the method's own section, which has precedence over `sections`.

    Raises:
        ParamsError: there is no such method, or its parameters are invalid.
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
    """Validate the parameters of a method. Return them as an instance of the method's class `Params`.

    Args:
        name: name of the method.
        params: values of all its parameters.

    Raises:
        ParamsError: there is no such method, or its parameters are invalid.
    """
    try:
        return params_class(name).model_validate(dict(params))
    except ValidationError as error:
        raise ParamsError(format_validation_error(f"methods.{name}", error)) from None


def _entry(name: str) -> _Entry:
    if name not in method_names():
        raise ParamsError(f"unknown method {name!r}; available methods: {', '.join(method_names())}")
    importlib.import_module(f"portraitist.methods.{name}")  # the decorator in this module registers the method
    return _REGISTRY[name]
