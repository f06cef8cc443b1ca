"""Which pictures are accepted."""

from typing import Annotated

from pydantic import Field

from portraitist.core.params import Fraction, NonNegativeFloat, PositiveInt, Section


class PerKind(Section):
    """A threshold of each kind of picture."""

    selfies: NonNegativeFloat
    portraits: NonNegativeFloat


class CleanParams(Section):
    """What a picture must be to stay."""

    min_side_px: Annotated[int, Field(ge=16)]
    max_megapixels: Annotated[float, Field(gt=0)]
    max_side_px: Annotated[int, Field(ge=64)]  # larger ones are scaled down to it
    max_megabytes: Annotated[float, Field(gt=0)]
    max_aspect: Annotated[float, Field(ge=1)]  # the longer side by the shorter
    min_entropy_bits: Annotated[float, Field(ge=0, le=8)]  # of the shades of grey: less is a blank wall
    min_sharpness: PerKind  # variance of the Laplacian at 256 px
    same_within_bits: Annotated[int, Field(ge=0, le=16)]  # of 64 bits of dHash: closer may be the same picture,
    same_correlation: Fraction  # and is, if their shades agree so well, too
    task_memory_mb: Annotated[int, Field(ge=512)]  # of address space: what one file may take
    task_cpu_s: PositiveInt
    task_wall_s: Annotated[float, Field(gt=0)]
    shard_size: PositiveInt
