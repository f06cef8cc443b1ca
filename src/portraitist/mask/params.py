"""How persons are segmented."""

from typing import Literal

from portraitist.core.params import Fraction, PositiveInt, Section

MaskModel = Literal["refined", "selfie", "u2net_human_seg"]


class MaskParams(Section):
    """How the person is told from the background."""

    model: MaskModel  # the last one is downloaded
    min_person: Fraction  # of the crop; less is refused
    max_person: Fraction
    workers: PositiveInt  # processes; no result depends on it
    shard_size: PositiveInt
