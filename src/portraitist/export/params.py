"""Which model is exported, and how closely its ONNX files must match PyTorch."""

from pydantic import field_validator

from portraitist.core.params import NonNegativeFloat, Section
from portraitist.learning import method_names


class PerPrecision(Section):
    """A bound for each precision in which weights are stored, in steps of 255."""

    fp32: NonNegativeFloat
    fp16: NonNegativeFloat
    int8: NonNegativeFloat


class ExportParams(Section):
    """Which model is exported, and the allowed difference between what ONNX and PyTorch paint."""

    method: str
    max_error: PerPrecision
    mean_error: PerPrecision

    @field_validator("method")
    @classmethod
    def _exists(cls, method: str) -> str:
        if method not in method_names():
            raise ValueError(f"unknown method; available methods: {', '.join(method_names())}")
        return method
