"""Parameters of stage `crop`."""

from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section


class CropParams(Section):
    """How a face is detected, selected and cropped to a square."""

    size_px: Annotated[int, Field(ge=32, multiple_of=16)]
    eye_line: Fraction  # height of the eyes as a fraction of the crop, from its top
    eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # distance as a fraction of the crop
    closest_eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # maximum where the picture is smaller than the crop
    min_score: Fraction  # lowest accepted score of a detection
    max_upscale: Annotated[float, Field(gt=0)]  # faces that need more enlargement are rejected
    min_visible: Fraction  # fraction of the crop that must lie inside the picture
    faces: Literal["largest", "each"]  # which faces of a picture are cropped
    min_relative_size: Fraction  # with `each`: smallest face to crop, relative to the largest
    shard_size: PositiveInt
