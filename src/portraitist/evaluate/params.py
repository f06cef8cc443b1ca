"""Parameters of the stages `evaluate` and `evaluate_selfies`."""

from typing import Annotated

from pydantic import Field

from portraitist.core.params import PositiveInt, Section, Seed


class EvaluateParams(Section):
    """How the metrics are computed and shown."""

    seed: Seed
    features_px: Annotated[int, Field(ge=32, multiple_of=32)]  # height and width of EfficientNet-Lite0's input
    inception: bool  # compute FID and KID; this downloads Inception-v3's weights (96 MB) once
    bootstrap: PositiveInt  # number of bootstrap resamples for each interval
    sheet_rows: PositiveInt  # number of faces on the sheet that shows the avatars of all methods
