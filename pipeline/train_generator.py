"""Stage train_generator: crops and recipes -> models/generator.pt. Stage 1: perceptual loss."""

import sys
from pathlib import Path

from portraitist.dataset import Folders
from portraitist.methods import Given
from portraitist.nets.features import Lite0
from portraitist.params import AugmentParams, GeneratorParams, TrainGeneratorParams, load_or_exit
from portraitist.train import Task, learn_or_exit

METHOD = "perceptual"


def main(
    params: TrainGeneratorParams,
    shape: GeneratorParams,
    augment: AugmentParams,
    folders: Folders,
    features: Path,
    dest: Path,
    log: Path,
) -> None:
    """Train, save, log."""
    settings = {**shape.model_dump(), "learning_rate": params.learning_rate}
    task = Task(METHOD, settings, params, augment, diverse=True, folders=folders, parts=(features,))
    learn_or_exit(task, Given(Lite0(features)), {}, dest, log)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(TrainGeneratorParams, "train_generator"),
        load_or_exit(GeneratorParams, "generator"),
        load_or_exit(AugmentParams, "augment"),
        Folders(*paths[:4]),
        *paths[4:],
    )
