"""Parameters of the three training stages: networks, schedule and optimization."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section, Seed


class GeneratorParams(Section):
    """Architecture of the generator that stage 1 pretrains. CartoonGAN's paper uses 64 channels and 8 blocks."""

    base_channels: Annotated[int, Field(ge=4, multiple_of=2)]
    num_res_blocks: PositiveInt
    skip_connections: bool  # U-Net connections from encoder to decoder; the paper has none


class ScheduleParams(Section):
    """Length of a training, batch size, and use of the machine."""

    seed: Seed
    epochs: PositiveInt
    batch_size: PositiveInt  # over all processes
    num_workers: Annotated[int, Field(ge=0)]  # processes that prepare batches ahead; no effect on results
    num_threads: PositiveInt  # CPU threads; fixed, because the order of summation depends on it
    precision: Literal["float32", "bfloat16"]  # precision of the forward passes; weights are always float32
    compile: bool  # compile the networks with torch.compile, which needs a C++ compiler


class TrainGeneratorParams(ScheduleParams):
    """Stage 1: train the generator to reconstruct its input."""

    learning_rate: OpenFraction


class TrainMaskParams(ScheduleParams):
    """Stage 2: train the U-Net to segment the person."""

    base_channels: Annotated[int, Field(ge=4)]
    learning_rate: OpenFraction


class TrainParams(ScheduleParams):
    """Stage 3: settings that all methods share, so that their results are comparable."""

    learning_rate: OpenFraction
    content_weight: NonNegativeFloat
    ema_decay: OpenFraction  # decay of the exponential moving average of the generator's weights
    optimization_steps: PositiveInt  # for methods that train nothing and optimize each picture instead
    validate_every: Annotated[int, Field(ge=0)]  # epochs between two validations; 0: none
    select: Literal["last", "best"]  # epoch whose weights are saved; best: the lowest validation kernel distance
    patience: Annotated[int, Field(ge=0)]  # epochs without a lower distance that end the training; 0: never

    @model_validator(mode="after")
    def _validate_if_needed(self) -> "TrainParams":
        if not self.validate_every and (self.select == "best" or self.patience):
            raise ValueError("validate_every is 0, but select=best and patience need validation; set validate_every=1")
        return self
