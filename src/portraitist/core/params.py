"""Load sections of params.yaml and of profiles/<profile>.yaml into typed, validated, immutable objects.

params.yaml lists every parameter. The parameters that set the scale of a run (limits, sizes, epochs) are null there;
their values are read from the profile, the file that the key `profile` selects. A value in params.yaml overrides the
profile's, so `dvc exp run -S train.epochs=1` works for every parameter. The class of each section is in the package of
the stage that uses it.
"""

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
S = TypeVar("S", bound="Section")


class ParamsError(ValueError):
    """A parameter is invalid; the message names the key, the value found and the values allowed."""


class Section(BaseModel):
    """Base class of the sections of params.yaml: instances are immutable, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, allow_inf_nan=False)


def load(section: type[S], name: str, root: Path = Path()) -> S:
    """Load one section, such as "crop" or "collect.sample", from root/params.yaml and its profile.

    Raises:
        ParamsError: a file is missing or malformed, a key is unknown or missing, or a value is invalid.
    """
    return validate(section, name, *read_files(root))


def load_methods(root: Path = Path()) -> dict[str, dict[str, Any]]:
    """Load the parameters of each method without validating them, in the order of params.yaml.

    Raises:
        ParamsError: params.yaml or its profile is missing or malformed.
    """
    params = read_files(root)[0]
    return {name: subsection(params, f"methods.{name}") for name in subsection(params, "methods")}


def load_sources(root: Path = Path()) -> list[str]:
    """Load `sources`, the names of the sources to collect from, without validating them.

    Raises:
        ParamsError: params.yaml or its profile is missing or malformed.
    """
    return list(read_files(root)[0]["sources"])


def read_files(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read params.yaml and the profile that its key `profile` selects, and return both.

    Raises:
        ParamsError: a file is missing or malformed, or the selected profile does not exist.
    """
    params = _read(root / "params.yaml")
    if "profile" not in params:
        raise ParamsError("params.yaml: 'profile' is missing; add `profile: NAME` with the name of a file in profiles/")
    profiles = sorted(path.stem for path in (root / "profiles").glob("*.yaml"))
    if params["profile"] not in profiles:
        raise ParamsError(f"params.yaml: profile is {params['profile']!r}; available profiles: {', '.join(profiles)}")
    return params, _read(root / "profiles" / f"{params['profile']}.yaml")


def subsection(content: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the mapping at a dotted name such as "collect.sample"; an empty one if it is missing.

    Raises:
        ParamsError: the value is not a mapping.
    """
    for key in name.split("."):
        found = content.get(key) or {}
        if not isinstance(found, dict):
            raise ParamsError(f"params.yaml or its profile: {name} must be a mapping, found {found!r}")
        content = found
    return content


def validate(section: type[S], name: str, params: dict[str, Any], profile: dict[str, Any]) -> S:
    """Build one section from its values in params.yaml; those that are null are taken from the profile.

    If a section has a field `seed` or `shard_size`, its value is that of the top-level key with the same name. The
    field `limit` of a source has the value of limits.<source>.

    Raises:
        ParamsError: a key is unknown or missing, or a value is invalid.
    """
    values = _merge(name, subsection(params, name), subsection(profile, name))
    for key in ("seed", "shard_size", "limit"):
        if key in values:  # the key would have no effect here
            where = "limits" if key == "limit" else f"the top-level key {key!r}"
            raise ParamsError(f"{name}.{key}: unknown key (value {values[key]!r}); set {where} instead")
    for key in ("seed", "shard_size"):
        if key in section.model_fields:
            values |= _merge("", {key: params.get(key)}, {key: profile[key]} if key in profile else {})
    if "limit" in section.model_fields:
        source = name.rpartition(".")[2]
        limits = _merge("limits", subsection(params, "limits"), subsection(profile, "limits"))
        if limits.get(source) is None:
            raise ParamsError(
                f"limits.{source}: found no value in params.yaml or in the profile; set it in section `limits`, for "
                f"example `{source}: 100` to collect at most 100 selfies and at most 100 portraits"
            )
        values |= {"limit": limits[source]}
    try:
        return section.model_validate(values)
    except ValidationError as error:
        raise ParamsError(format_validation_error(name, error)) from None


def _merge(name: str, own: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
    """Return `own`, the values of params.yaml, with each null replaced by the profile's value."""
    prefix = f"{name}." if name else ""
    for key in profile:
        if key not in own:
            raise ParamsError(
                f"{prefix}{key} is in the profile but not in params.yaml; add `{key}: null` to params.yaml"
            )
    return {key: profile.get(key) if value is None else value for key, value in own.items()}


def format_validation_error(name: str, error: ValidationError) -> str:
    """Return a validation error as one line: each invalid key, the values allowed, and the value found."""
    lines = []
    for detail in error.errors(include_url=False):
        key = ".".join([name, *map(str, detail["loc"])])
        if detail["loc"] == ("limit",):
            key = f"limits.{name.rpartition('.')[2]}"
        found = "" if detail["type"] == "missing" else f", found {detail['input']!r}"
        lines.append(f"{key}: {detail['msg']}{found}")
    return "; ".join(lines)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ParamsError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ParamsError(f"{path}: expected a mapping of sections, found {type(content).__name__}")
    return content
