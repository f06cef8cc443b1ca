"""The headline metrics: eight numbers that describe a method at a glance."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portraitist.stats.rounding import rounded

Results = Mapping[str, Mapping[str, Any]]  # content of a method's metrics.json: for each metric, value, low, high, ...


@dataclass(frozen=True)
class Headline:
    """A headline metric.

    Attributes:
        metric: name in metrics.json.
        title: name in words, for tables and sentences.
    """

    metric: str
    title: str


HEADLINES = {  # by their names in metrics/summary.json
    "painted_rate": Headline("painted_rate", "painted rate"),
    "kernel_lite2_share": Headline("foreground_kernel_lite2_share", "distance from portraits"),
    "landmark_error": Headline("face_landmark_error", "landmark error"),
    "faces_found": Headline("face_found", "faces found"),
    "repainted": Headline("background_repainted", "background repainted"),
    "bleed": Headline("background_bleed", "colour bleed"),
    "gflop": Headline("cost_gflop", "operations"),
    "megabytes": Headline("cost_megabytes", "size"),
}


def summary(results: Results) -> dict[str, float]:
    """Return the headline metrics in a method's results, each rounded to the precision of its confidence interval."""
    found = {name: results[headline.metric] for name, headline in HEADLINES.items() if headline.metric in results}
    return {name: rounded(result["value"], result["low"], result["high"]) for name, result in found.items()}
