"""Stage train_mask: crops, masks and recipes -> models/mask.pt. Stage 2: the U-Net, by binary cross-entropy."""

import sys
from pathlib import Path

from pipeline.stage import load_or_exit
from portraitist.augment.params import AugmentParams
from portraitist.methods.base import UpstreamModels
from portraitist.train.batches import DatasetPaths
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.params import TrainMaskParams

METHOD = "unet_mask"


def main(params: TrainMaskParams, augment: AugmentParams, folders: DatasetPaths, dest: Path, log: Path) -> None:
    """Train, save, log."""
    settings = {"width": params.width, "learning_rate": params.learning_rate}
    train_or_exit(
        TrainingTask(METHOD, settings, params, augment, diverse=True, folders=folders, parts=()),
        UpstreamModels(),
        {},
        dest,
        log,
    )


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(TrainMaskParams, "train_mask"),
        load_or_exit(AugmentParams, "augment"),
        DatasetPaths(*paths[:4]),
        *paths[4:],
    )
