"""Parameters that methods and their trainings share."""

from typing import Literal

from portraitist.core.params import Section

PairKind = Literal["review", "folder", "nearest"]


class ContentParams(Section):
    """Feature network of the content loss in stages 1 and 3."""

    network: Literal["lite0", "vgg19"]  # vgg19 is downloaded
