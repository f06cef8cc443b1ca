"""Stage train_mask: crops, masks and recipes -> models/mask.pt. Stage 2: the U-Net, by binary cross-entropy."""

import sys
from pathlib import Path

from portraitist.dataset import Folders
from portraitist.methods import Given
from portraitist.params import AugmentParams, TrainMaskParams, load_or_exit
from portraitist.train import Task, learn_or_exit

METHOD = "unet_mask"


def main(params: TrainMaskParams, augment: AugmentParams, folders: Folders, dest: Path, log: Path) -> None:
    """Train, save, log."""
    settings = {"width": params.width, "learning_rate": params.learning_rate}
    learn_or_exit(
        Task(METHOD, settings, params, augment, diverse=True, folders=folders, parts=()), Given(), {}, dest, log
    )


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(TrainMaskParams, "train_mask"),
        load_or_exit(AugmentParams, "augment"),
        Folders(*paths[:4]),
        *paths[4:],
    )
