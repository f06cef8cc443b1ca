"""Parameters of stage `export`."""

from pydantic import field_validator

from portraitist.core.params import NonNegativeFloat, Section
from portraitist.learning import method_names


class PerPrecision(Section):
    """The largest allowed difference of pixel values (0 to 255), for each precision of the stored weights."""

    fp32: NonNegativeFloat
    fp16: NonNegativeFloat
    int8: NonNegativeFloat


class ExportParams(Section):
    """Which method is exported, and how much the pixels painted by ONNX Runtime and by PyTorch may differ."""

    method: str  # name of the method
    max_error: PerPrecision  # largest allowed difference of any pixel
    mean_error: PerPrecision  # largest allowed mean difference over pixels

    @field_validator("method")
    @classmethod
    def _exists(cls, method: str) -> str:
        if method not in method_names():
            raise ValueError(f"unknown method; available methods: {', '.join(method_names())}")
        return method
