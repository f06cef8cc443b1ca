"""Parameters of stage clean."""

from typing import Annotated

from pydantic import Field

from portraitist.core.params import Fraction, NonNegativeFloat, PositiveInt, Section


class PerKind(Section):
    """A threshold for selfies and a threshold for portraits."""

    selfies: NonNegativeFloat
    portraits: NonNegativeFloat


class CleanParams(Section):
    """Which pictures are kept, and the resources that decoding a picture may use."""

    min_side_px: Annotated[int, Field(ge=16)]  # length of the shorter side
    max_megapixels: Annotated[float, Field(gt=0)]  # size of the decoded picture; larger JPEG files are decoded smaller
    max_side_px: Annotated[int, Field(ge=64)]  # pictures whose longer side is longer are scaled down
    max_megabytes: Annotated[float, Field(gt=0)]  # size of the file, in units of 10^6 bytes
    max_aspect: Annotated[float, Field(ge=1)]  # longer side divided by shorter side
    min_entropy_bits: Annotated[float, Field(ge=0, le=8)]  # entropy of the grey levels; that of a blank wall is low
    min_sharpness: PerKind  # variance of the Laplacian of the grey levels at 256 px width
    # Two pictures are near-duplicates if their 64-bit difference hashes differ in at most `max_hamming_distance` bits,
    # and their thumbnails have a correlation of at least `min_correlation`.
    max_hamming_distance: Annotated[int, Field(ge=0, le=16)]
    min_correlation: Fraction
    task_memory_mb: Annotated[int, Field(ge=512)]  # address space of the process that decodes, in units of 2^20 bytes
    task_cpu_s: PositiveInt  # longest CPU time for one file
    task_wall_s: Annotated[float, Field(gt=0)]  # longest wall time for one file
    shard_size: PositiveInt  # number of pictures in a tar shard
