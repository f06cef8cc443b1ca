"""How faces are cropped."""

from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section


class CropParams(Section):
    """How a face becomes a square."""

    size_px: Annotated[int, Field(ge=32, multiple_of=16)]
    eye_line: Fraction  # height of the eyes in the crop, from its top
    eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # as a share of the crop
    closest_eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # the same, where the picture ends around the face
    min_score: Fraction
    max_upscale: Annotated[float, Field(gt=0)]  # a smaller face is refused
    min_inside: Fraction  # of the crop that lies in the picture
    faces: Literal["largest", "each"]  # of a picture that shows several
    large: Fraction  # of the largest one's side: with `each`, smaller ones are bystanders
    workers: PositiveInt  # processes; no result depends on it
    shard_size: PositiveInt
