"""How far the painted face has gone from the selfie's: distance of their EfficientNet-Lite0 features, 0 unchanged."""

import numpy as np

from portraitist.evaluate import Evidence, Measure, foreground, mean_with_interval


def measure(evidence: Evidence) -> Measure:
    """One minus the cosine of each selfie's and its painting's features; the mean over faces."""
    painted = evidence.features(foreground(evidence.painted, evidence.masks))
    selfies = evidence.features(foreground(evidence.selfies, evidence.masks))
    length = np.linalg.norm(painted, axis=1) * np.linalg.norm(selfies, axis=1)
    return mean_with_interval(1 - (painted * selfies).sum(axis=1) / length, evidence, network=evidence.features_name)
