"""The painted rate: the share of images that a classifier of EfficientNet-Lite2 features recognizes as portraits."""

from typing import Any

import numpy as np

from portraitist.evaluate.data import EvaluationData, ImageSet
from portraitist.evaluate.registry import Measurement, Metric, Values, metric, rate_over_faces
from portraitist.learning.realism import PortraitClassifier
from portraitist.stats.bootstrap import TooFewSamplesError, wilson_interval

NETWORK = "lite2"


def _classify(data: EvaluationData, images: ImageSet) -> Values:
    """Return 1 for each image that is classified as a portrait, else 0; the background is replaced by grey first."""

    def fit() -> PortraitClassifier:
        selfies = data.features(NETWORK, "training_selfies", "person on grey")
        portraits = data.features(NETWORK, "training_portraits", "person on grey")
        try:
            return PortraitClassifier.fit(selfies, portraits)
        except ValueError as error:
            raise TooFewSamplesError(
                f"train part of the split: {error}; add pictures, or raise split.train in params.yaml"
            ) from error

    classifier: PortraitClassifier = data.cached("portrait classifier", fit)
    return classifier.is_portrait(data.features(NETWORK, images, "person on grey")).astype(float)


def _details(data: EvaluationData) -> dict[str, Any]:
    counts = {"n_training_selfies": len(data.training_selfies), "n_training_portraits": len(data.training_portraits)}
    return {**data.networks[NETWORK].details, "pixels": "person on grey", **counts}


@metric(
    name="painted_rate",
    description="Share of avatars that a linear classifier recognizes as portraits. It is fitted to EfficientNet-Lite2 "
    "features of the training part's selfies and portraits, with grey instead of the background.",
    optimum=1.0,
    network=NETWORK,
)
def painted_rate(data: EvaluationData) -> Measurement:
    """Return the share of avatars that are classified as portraits, in [0, 1]."""
    return rate_over_faces(_classify(data, "stylized"), data, **_details(data))


def painted_rate_held_out(data: EvaluationData) -> Measurement:
    """Return the share of test portraits that are classified as portraits; near 1 if the classifier is reliable."""
    values = _classify(data, "portraits")
    rate, n = float(np.mean(values)), len(values)
    return Measurement(rate, *wilson_interval(rate, n), n, _details(data))


# Not in the registry: the classifier is the same for all methods, so this metric is measured once.
HELD_OUT = Metric(
    "painted_rate_held_out",
    "Share of the test portraits that the classifier of `painted_rate` recognizes as portraits.",
    optimum=1.0,
    unit="",
    network=NETWORK,
    measure=painted_rate_held_out,
)
