"""Parameters of the stages `train_generator`, `train_mask` and `train`."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section, Seed


class GeneratorParams(Section):
    """Size of the generators. Stage `train_generator` and most methods use these values.

    CartoonGAN's paper uses 64 channels and 8 blocks.
    """

    base_channels: Annotated[int, Field(ge=4, multiple_of=2)]  # channels at full size
    num_res_blocks: PositiveInt  # number of residual blocks
    skip_connections: bool  # connect encoder and decoder as in a U-Net; CartoonGAN's paper does not


class ScheduleParams(Section):
    """Length of a training, batch size, and use of CPU and GPU. The three training stages have these parameters."""

    seed: Seed
    epochs: PositiveInt
    batch_size: PositiveInt  # selfies per step, in all processes together; the number of portraits is the same
    num_workers: Annotated[int, Field(ge=0)]  # processes that load batches ahead; results do not depend on it
    num_threads: PositiveInt  # CPU threads; their number affects the order of summation, and so results' last digits
    precision: Literal["float32", "bfloat16"]  # precision of the forward passes; weights are always float32
    compile: bool  # compile the networks with torch.compile, which needs a C++ compiler


class TrainGeneratorParams(ScheduleParams):
    """Stage `train_generator`: train the generator to reconstruct its input."""

    learning_rate: OpenFraction


class TrainMaskParams(ScheduleParams):
    """Stage `train_mask`: train the U-Net to segment the person."""

    base_channels: Annotated[int, Field(ge=4)]  # channels of the U-Net at full size
    learning_rate: OpenFraction


class TrainParams(ScheduleParams):
    """Stage `train`. Methods can have values of their own for `learning_rate` and `content_weight` in `methods`."""

    learning_rate: OpenFraction
    content_weight: NonNegativeFloat  # weight of the content loss
    ema_decay: OpenFraction  # decay of the exponential moving average of the generator's weights
    optimization_steps: PositiveInt  # per picture, for methods that train nothing and optimize each picture's pixels
    validate_every: Annotated[int, Field(ge=0)]  # epochs between two validations; 0: no validation
    select: Literal["last", "best"]  # epoch whose weights are saved; best: the epoch with the lowest kernel distance
    patience: Annotated[int, Field(ge=0)]  # the training ends after this many epochs without a lower distance; 0: never

    @model_validator(mode="after")
    def _validate_if_needed(self) -> "TrainParams":
        if not self.validate_every and (self.select == "best" or self.patience):
            raise ValueError(
                "validate_every is 0 (no validation), but select=best requires validation, and so does any patience "
                "above 0; set validate_every=1, or set both select=last and patience=0"
            )
        return self
