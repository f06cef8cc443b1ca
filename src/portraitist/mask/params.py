"""Parameters of stage `mask`."""

from typing import Literal

from portraitist.core.params import Fraction, PositiveInt, Section

MaskModel = Literal["refined", "selfie", "u2net_human_seg"]


class MaskParams(Section):
    """How the person is segmented."""

    model: MaskModel  # u2net_human_seg is downloaded
    min_person: Fraction  # of the crop; less person is rejected
    max_person: Fraction  # of the crop; more person is rejected
    shard_size: PositiveInt
