"""Parameters of stage clean."""

from typing import Annotated

from pydantic import Field

from portraitist.core.params import Fraction, NonNegativeFloat, PositiveInt, Section


class PerKind(Section):
    """One threshold for each kind of picture."""

    selfies: NonNegativeFloat
    portraits: NonNegativeFloat


class CleanParams(Section):
    """Which pictures are kept, and the resources that decoding a picture may use."""

    min_side_px: Annotated[int, Field(ge=16)]
    max_megapixels: Annotated[float, Field(gt=0)]  # decoded; a larger JPEG file is decoded at reduced size
    max_side_px: Annotated[int, Field(ge=64)]  # larger pictures are scaled down
    max_megabytes: Annotated[float, Field(gt=0)]  # file size
    max_aspect: Annotated[float, Field(ge=1)]  # longer side / shorter side
    min_entropy_bits: Annotated[float, Field(ge=0, le=8)]  # entropy of the grey levels; low for a blank wall
    min_sharpness: PerKind  # variance of the Laplacian at 256 px width
    max_hamming_distance: Annotated[int, Field(ge=0, le=16)]  # between near-duplicates' 64-bit difference hashes
    min_correlation: Fraction  # between near-duplicates' thumbnails
    task_memory_mb: Annotated[int, Field(ge=512)]  # address space of a worker process
    task_cpu_s: PositiveInt  # for one file
    task_wall_s: Annotated[float, Field(gt=0)]  # for one file
    shard_size: PositiveInt
