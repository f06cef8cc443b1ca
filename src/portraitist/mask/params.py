"""Parameters of stage `mask`."""

from typing import Literal

from portraitist.core.params import Fraction, PositiveInt, Section

MaskModel = Literal["refined", "selfie", "u2net_human_seg"]


class MaskParams(Section):
    """How the person in a crop is segmented."""

    model: MaskModel  # segmentation model; the weights of u2net_human_seg are downloaded (176 MB)
    min_person: Fraction  # smallest accepted share of the crop's area that the person covers
    max_person: Fraction  # largest accepted share
    shard_size: PositiveInt  # number of pictures in a tar shard
