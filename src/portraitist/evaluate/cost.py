"""Cost of one avatar, which stage paint has computed."""

from portraitist.evaluate.data import EvaluationData
from portraitist.evaluate.registry import Measurement, exact, metric


@metric(
    name="cost_gflop",
    description="Floating-point operations for one avatar at the training resolution; seconds depend on the machine.",
    optimum=0.0,
    unit="GFLOP",
)
def gflop(data: EvaluationData) -> Measurement:
    """Return the operations for one avatar in GFLOP; the details contain the resolution."""
    return exact(data.cost["gflop"], side_px=data.crop_params.size_px)


@metric(
    name="cost_megabytes",
    description="Size of the weights that must be loaded to stylize a selfie.",
    optimum=0.0,
    unit="MB",
)
def megabytes(data: EvaluationData) -> Measurement:
    """Return the size of the weights in MB."""
    return exact(data.cost["megabytes"])
