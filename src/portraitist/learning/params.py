"""Parameters that several training methods share."""

from typing import Literal

from portraitist.core.params import Section

PairKind = Literal["review", "folder", "nearest"]  # where the selfie-portrait pairs come from; see train/pairing.py


class ContentParams(Section):
    """Network whose features the content loss compares, in stages `train_generator` and `train`."""

    network: Literal["lite0", "vgg19"]  # EfficientNet-Lite0, or VGG19, which is a download of 575 MB
