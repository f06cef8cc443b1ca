"""Parameters of stage `split`."""

from typing import Annotated

from pydantic import Field, model_validator

from portraitist.core.params import Fraction, Section


class SplitParams(Section):
    """Shares of the groups that are used for training and for validation; the other groups are used for tests."""

    salt: str  # added to the names of groups before they are hashed; another salt assigns them anew
    train: Fraction
    validation: Fraction
    max_hamming_distance: Annotated[int, Field(ge=0, le=20)]  # between near-duplicates' 64-bit dHashes

    @model_validator(mode="after")
    def _leaves_a_test_part(self) -> "SplitParams":
        if self.train + self.validation >= 1:
            raise ValueError(
                f"train {self.train} + validation {self.validation} must be below 1, because the rest is used for tests"
            )
        return self
