"""Parameters of stage `augment`, and of the augmentation during training."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section, Seed


class AugmentParams(Section):
    """Which backgrounds people are placed on, and how pictures are transformed."""

    seed: Seed
    backgrounds: Annotated[list[Literal["solid", "gradient", "noise", "checks", "blur", "room"]], Field(min_length=1)]
    backgrounds_folder: Path  # your own pictures for the library of backgrounds
    library_size: Annotated[int, Field(ge=0)]  # maximum number of pictures in the library
    recipes_per_person: Annotated[int, Field(ge=1)]  # including the one with the original background
    light_wrap: Fraction  # strength of the background's light on the person's edge
    flip_probability: Fraction
    max_rotation_degrees: Annotated[float, Field(ge=0, le=45)]
    max_zoom: Annotated[float, Field(ge=0, lt=0.5)]  # scales are in [1 - max_zoom, 1 + max_zoom]
    max_shift: Annotated[float, Field(ge=0, lt=0.5)]  # as a fraction of the side
    brightness: Fraction  # maximum relative change of brightness and contrast
    hue: Annotated[float, Field(ge=0, le=0.5)]  # maximum change, as a fraction of the colour circle
    shard_size: PositiveInt
