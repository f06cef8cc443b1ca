"""Load the models of earlier stages with which the training of a method starts."""

from pathlib import Path

from portraitist.learning.checkpoint import load_network
from portraitist.learning.features import load_feature_network
from portraitist.learning.method import UpstreamModels


def load_upstream_models(
    feature_network: str, pretrained: Path, generator: Path | None = None, segmenter: Path | None = None
) -> UpstreamModels:
    """Load the feature network, and the models of stages `train_generator` and `train_mask` if their files are given.

    Args:
        feature_network: "lite0" or "vgg19", the value of `content.network`.
        pretrained: the folder that stage `weights` writes.
        generator: the file that stage `train_generator` writes.
        segmenter: the file that stage `train_mask` writes.

    Raises:
        CheckpointError: the file of the generator or the segmenter is missing, is not a Portraitist model, or has an
            unsupported format version.
        FileNotFoundError: the file of the feature network is missing.
        ValueError: the file of the feature network contains the weights of another network.
    """
    return UpstreamModels(
        load_feature_network(feature_network, pretrained),
        load_network(generator, "generator") if generator else None,
        load_network(segmenter, "segmenter") if segmenter else None,
        pretrained,
    )
