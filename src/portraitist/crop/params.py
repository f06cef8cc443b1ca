"""Parameters of stage `crop`."""

from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import Fraction, PositiveInt, Section


class CropParams(Section):
    """How a face is detected, selected and cropped to a square."""

    size_px: Annotated[int, Field(ge=32, multiple_of=16)]  # side of the crop
    eye_line: Fraction  # distance of the eyes from the top of the crop, as a fraction of the crop's side
    eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]  # distance from eyes to mouth, as a fraction of the side
    # If the whole picture fits into the crop, it is enlarged, but the distance from eyes to mouth does not exceed this.
    closest_eye_to_mouth: Annotated[float, Field(gt=0.05, lt=0.5)]
    min_score: Fraction  # lowest accepted score of a detected face
    max_upscale: Annotated[float, Field(gt=0)]  # a face that would have to be enlarged more is rejected
    min_visible: Fraction  # fraction of the crop's area that the picture must cover
    faces: Literal["largest", "each"]  # which faces of a picture are cropped
    min_relative_size: Fraction  # for faces=each: smallest face to crop, as a fraction of the largest face's size
    shard_size: PositiveInt  # number of pictures in a tar shard
