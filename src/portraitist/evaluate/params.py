"""Parameters of stages evaluate and evaluate_selfies."""

from typing import Annotated

from pydantic import Field

from portraitist.core.params import PositiveInt, Section, Seed


class EvaluateParams(Section):
    """How the metrics are computed and shown."""

    seed: Seed
    features_px: Annotated[int, Field(ge=32, multiple_of=32)]  # input size of EfficientNet-Lite0
    inception: bool  # compute FID and KID; downloads Inception-v3's weights (96 MB) once
    bootstrap: PositiveInt  # number of resamples for each interval
    sheet_rows: PositiveInt  # faces on the contact sheet
