"""Stage train_generator: crops and recipes -> models/generator.pt. Stage 1: perceptual loss."""

import sys
from pathlib import Path

from portraitist.checkpoint import save
from portraitist.dataset import Folders, Steps
from portraitist.methods import Given
from portraitist.nets.features import Lite0
from portraitist.params import AugmentParams, GeneratorParams, TrainGeneratorParams, load_or_exit
from portraitist.train import train, write_log

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
    steps = Steps(folders, augment, batch=params.batch, seed=params.seed, diverse=True)
    settings = {**shape.model_dump(), "learning_rate": params.learning_rate}
    learner, terms = train(METHOD, settings, steps, Given(Lite0(features)), params)
    save(dest, METHOD, settings, learner, {"epochs": params.epochs, "seed": params.seed})
    write_log(terms, log)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(TrainGeneratorParams, "train_generator"),
        load_or_exit(GeneratorParams, "generator"),
        load_or_exit(AugmentParams, "augment"),
        Folders(*paths[:4]),
        *paths[4:],
    )
