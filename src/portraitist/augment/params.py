"""Parameters of stage `augment`, and of the random transforms during training."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section, Seed


class AugmentParams(Section):
    """On which backgrounds people are placed, and how pictures are transformed during training."""

    seed: Seed
    # Kinds of backgrounds: blur is the person's own blurred background, room a picture from the library of backgrounds.
    backgrounds: Annotated[list[Literal["solid", "gradient", "noise", "checks", "blur", "room"]], Field(min_length=1)]
    backgrounds_folder: Path  # your own pictures for the library of backgrounds; may be empty
    library_size: Annotated[int, Field(ge=0)]  # maximum number of pictures in the library of backgrounds
    # Backgrounds on which each training face is placed, including the original one.
    recipes_per_person: Annotated[int, Field(ge=1)]
    light_wrap: Fraction  # strength of the background's light on the person's edge
    flip_probability: Fraction  # of mirroring a picture
    max_rotation_degrees: Annotated[float, Field(ge=0, le=45)]  # in both directions
    max_zoom: Annotated[float, Field(ge=0, lt=0.5)]  # scales are in [1 - max_zoom, 1 + max_zoom]
    max_shift: Annotated[float, Field(ge=0, lt=0.5)]  # as a fraction of the picture's side
    brightness: Fraction  # maximum relative change of brightness and of contrast
    hue: Annotated[float, Field(ge=0, le=0.5)]  # maximum change, as a fraction of the colour circle
    shard_size: PositiveInt  # number of pictures in a tar shard
