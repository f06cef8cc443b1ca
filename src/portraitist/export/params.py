"""Which model is exported, and how closely it must match torch."""

from pydantic import field_validator

from portraitist.core.params import NonNegativeFloat, Section
from portraitist.methods import method_names


class PerPrecision(Section):
    """A bound for the weights as they are, as halves, and in eight bits; in steps of 255."""

    fp32: NonNegativeFloat
    fp16: NonNegativeFloat
    int8: NonNegativeFloat


class ExportParams(Section):
    """Which model leaves the house, and how exactly what it paints must agree with torch."""

    method: str
    max_error: PerPrecision
    mean_error: PerPrecision

    @field_validator("method")
    @classmethod
    def _is_one_of_methods(cls, method: str) -> str:
        if method not in method_names():
            raise ValueError(f"there is no such method; there are {', '.join(method_names())}")
        return method
