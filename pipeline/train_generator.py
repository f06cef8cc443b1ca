"""Stage train_generator: crops and recipes -> models/generator.pt. Stage 1: perceptual loss."""

import sys
from pathlib import Path

from pipeline.stage import load_or_exit
from portraitist.augment.params import AugmentParams
from portraitist.methods.base import UpstreamModels
from portraitist.methods.registry import check_all_methods_or_exit
from portraitist.nets.features import load_feature_network, weights_file
from portraitist.train.batches import DatasetPaths
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.params import ContentParams, GeneratorParams, TrainGeneratorParams

METHOD = "perceptual"


def main(
    params: TrainGeneratorParams,
    shape: GeneratorParams,
    content: ContentParams,
    augment: AugmentParams,
    folders: DatasetPaths,
    pretrained: Path,
    dest: Path,
    log: Path,
) -> None:
    """Train, save, log."""
    settings = {**shape.model_dump(), "learning_rate": params.learning_rate}
    parts = (weights_file(content.network, pretrained),)
    task = TrainingTask(METHOD, settings, params, augment, diverse=True, folders=folders, parts=parts)
    train_or_exit(task, UpstreamModels(load_feature_network(content.network, pretrained)), {}, dest, log)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    check_all_methods_or_exit()  # before the hours that stages 1 and 2 may take
    main(
        load_or_exit(TrainGeneratorParams, "train_generator"),
        load_or_exit(GeneratorParams, "generator"),
        load_or_exit(ContentParams, "content"),
        load_or_exit(AugmentParams, "augment"),
        DatasetPaths(*paths[:4]),
        *paths[4:],
    )
