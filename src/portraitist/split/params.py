"""Shares of the training, validation and test parts."""

from typing import Annotated

from pydantic import Field, model_validator

from portraitist.core.params import Fraction, Section


class SplitParams(Section):
    """Which share of the groups is trained on, looked at, and tested on. The rest after both is for the test."""

    salt: str
    train: Fraction
    validation: Fraction
    near_bits: Annotated[int, Field(ge=0, le=20)]  # of 64 bits of dHash: pictures as close may not be on two sides

    @model_validator(mode="after")
    def _leaves_a_test(self) -> "SplitParams":
        if self.train + self.validation >= 1:
            raise ValueError(f"train {self.train} and validation {self.validation} leave nothing for the test")
        return self
