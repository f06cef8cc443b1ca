"""Cost of painting one avatar. Stage `paint` has measured it; these functions only return the numbers."""

from portraitist.evaluate.data import EvaluationData
from portraitist.evaluate.registry import Measurement, exact, metric


@metric(
    name="cost_gflop",
    description="Floating-point operations for one crop of crop.size_px; seconds depend on the machine.",
    optimum=0.0,
    unit="GFLOP",
)
def gflop(data: EvaluationData) -> Measurement:
    """Return the number of floating-point operations for one avatar, in units of 1e9.

    The `details` of the returned measurement contain `side_px`, the height and width of this avatar in pixels.
    """
    return exact(data.cost["gflop"], side_px=data.crop_params.size_px)


@metric(
    name="cost_megabytes",
    description="Size of the weights that must be loaded to stylize a selfie.",
    optimum=0.0,
    unit="MB",
)
def megabytes(data: EvaluationData) -> Measurement:
    """Return the size of the weights that must be loaded to stylize a selfie, in units of 1e6 bytes."""
    return exact(data.cost["megabytes"])
