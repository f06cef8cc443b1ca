"""Stage train_generator: crops and recipes -> models/generator.pt. Stage 1: perceptual loss."""

import sys
from pathlib import Path

from portraitist.dataset import Folders
from portraitist.methods import Given, all_checked_or_exit
from portraitist.nets.features import content_features, weights_of
from portraitist.params import AugmentParams, ContentParams, GeneratorParams, TrainGeneratorParams, load_or_exit
from portraitist.train import Task, learn_or_exit

METHOD = "perceptual"


def main(
    params: TrainGeneratorParams,
    shape: GeneratorParams,
    content: ContentParams,
    augment: AugmentParams,
    folders: Folders,
    pretrained: Path,
    dest: Path,
    log: Path,
) -> None:
    """Train, save, log."""
    settings = {**shape.model_dump(), "learning_rate": params.learning_rate}
    parts = (weights_of(content.network, pretrained),)
    task = Task(METHOD, settings, params, augment, diverse=True, folders=folders, parts=parts)
    learn_or_exit(task, Given(content_features(content.network, pretrained)), {}, dest, log)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    all_checked_or_exit()  # before the hours that stages 1 and 2 may take
    main(
        load_or_exit(TrainGeneratorParams, "train_generator"),
        load_or_exit(GeneratorParams, "generator"),
        load_or_exit(ContentParams, "content"),
        load_or_exit(AugmentParams, "augment"),
        Folders(*paths[:4]),
        *paths[4:],
    )
