"""Backgrounds and geometric augmentation."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section, Seed


class AugmentParams(Section):
    """Which persons stand on which backgrounds."""

    seed: Seed
    backgrounds: Annotated[list[Literal["solid", "gradient", "noise", "checks", "blur", "room"]], Field(min_length=1)]
    folder: Path  # pictures of your own that rooms are taken from
    rooms: Annotated[int, Field(ge=0)]  # the library's size
    per_person: Annotated[int, Field(ge=1)]  # recipes a person, the own background among them
    light_wrap: Fraction  # of the background's light that reaches over the person's edge
    flip: Fraction
    turn_degrees: Annotated[float, Field(ge=0, le=45)]
    zoom: Annotated[float, Field(ge=0, lt=0.5)]
    shift: Annotated[float, Field(ge=0, lt=0.5)]  # as a share of the side
    brightness: Fraction
    hue: Annotated[float, Field(ge=0, le=0.5)]
    shard_size: PositiveInt
