"""Parameters of stage `export`."""

from pydantic import field_validator

from portraitist.core.params import NonNegativeFloat, Section
from portraitist.learning import method_names


class PerPrecision(Section):
    """A bound for each precision of the stored weights, in steps of 255."""

    fp32: NonNegativeFloat
    fp16: NonNegativeFloat
    int8: NonNegativeFloat


class ExportParams(Section):
    """Which method is exported, and how much the outputs of ONNX and PyTorch may differ."""

    method: str
    max_error: PerPrecision
    mean_error: PerPrecision

    @field_validator("method")
    @classmethod
    def _exists(cls, method: str) -> str:
        if method not in method_names():
            raise ValueError(f"unknown method; available methods: {', '.join(method_names())}")
        return method
