"""Networks, schedule and optimization of the three training stages."""

from typing import Annotated, Literal

from pydantic import Field

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section, Seed

PairKind = Literal["review", "folder", "nearest"]


class GeneratorParams(Section):
    """The shape of the generator that stage 1 begins and CartoonGAN and ours go on with: 64 and 8 in the paper."""

    width: Annotated[int, Field(ge=4, multiple_of=2)]
    blocks: PositiveInt
    skips: bool  # from the way down to the way up; the paper has none


class ScheduleParams(Section):
    """How long a training runs, and on what."""

    seed: Seed
    epochs: PositiveInt
    batch: PositiveInt  # of all processes together
    loader_workers: Annotated[int, Field(ge=0)]  # processes that prepare batches ahead; no result depends on it
    threads: PositiveInt  # of the CPU; fixed, for sums depend on it: equal bytes with any number of cores
    precision: Literal["float32", "bfloat16"]  # of what networks reckon with; weights are float32 always
    compile: bool  # networks by torch.compile, which asks for a C++ compiler


class ContentParams(Section):
    """What the content loss of stages 1 and 3 compares."""

    network: Literal["lite0", "vgg19"]  # the last one is downloaded


class TrainGeneratorParams(ScheduleParams):
    """Stage 1: the generator learns to give back what it sees."""

    learning_rate: OpenFraction


class TrainMaskParams(ScheduleParams):
    """Stage 2: the U-Net learns to tell the person from the background."""

    width: Annotated[int, Field(ge=4)]
    learning_rate: OpenFraction


class TrainParams(ScheduleParams):
    """Stage 3 and every method's own training: what all methods share, so that they can be compared."""

    learning_rate: OpenFraction
    content_weight: NonNegativeFloat
    average: OpenFraction  # decay of the generator's running mean
    painting_steps: PositiveInt  # of a method that trains nothing and optimises each picture
