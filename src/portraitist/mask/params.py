"""Parameters of stage `mask`."""

from typing import Literal

from portraitist.core.params import Fraction, PositiveInt, Section

MaskModel = Literal["refined", "selfie", "u2net_human_seg"]


class MaskParams(Section):
    """How the person is segmented."""

    model: MaskModel  # u2net_human_seg is downloaded
    min_person: Fraction  # smallest accepted share of the person in the crop
    max_person: Fraction  # largest accepted share of the person in the crop
    shard_size: PositiveInt
