"""How avatars are measured."""

from typing import Annotated

from pydantic import Field

from portraitist.core.params import PositiveInt, Section, Seed


class EvaluateParams(Section):
    """How the avatars are measured."""

    seed: Seed
    features_px: Annotated[int, Field(ge=32, multiple_of=32)]  # side of what EfficientNet-Lite0 sees
    inception: bool  # FID and KID too: Inception-v3's weights, 96 MB, are fetched once
    bootstrap: PositiveInt  # resamplings behind each interval
    sheet_rows: PositiveInt
