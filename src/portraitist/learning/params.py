"""Parameters that several methods share."""

from typing import Literal, TypeAlias

from portraitist.core.params import Section

PairKind = Literal["review", "folder", "nearest"]  # where the selfie-portrait pairs come from; see train/pairing.py
StyleChoice: TypeAlias = Literal["house", "portraits"]


class ContentParams(Section):
    """Network whose features the content loss compares, in stages `train_generator` and `train`."""

    network: Literal["lite0", "vgg19"]  # EfficientNet-Lite0, or VGG19, which is a download of 575 MB


class PaintParams(Section):
    """Style in which stage `paint` paints the test selfies. Methods that take no style ignore it."""

    # house: all selfies are painted in the mean style of the training portraits; portraits: each selfie is painted in
    # the style of a random training portrait
    style: StyleChoice
