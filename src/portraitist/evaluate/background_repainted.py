"""Mean absolute change outside the person's mask, of 255: 0 where the background stays as the selfie has it."""

from portraitist.evaluate import Evidence, Measure, mean_with_interval
from portraitist.images import HALF_RANGE


def measure(evidence: Evidence) -> Measure:
    """The mean over faces; soft edges count by their share."""
    outside = 1 - evidence.masks
    change = ((evidence.painted.clamp(-1, 1) - evidence.selfies).abs() * HALF_RANGE).mean(dim=1, keepdim=True)
    each = (change * outside).sum((1, 2, 3)) / outside.sum((1, 2, 3)).clamp(min=1)
    return mean_with_interval(each.double().numpy(), evidence)
