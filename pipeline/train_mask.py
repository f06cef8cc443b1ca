"""Stage train_mask: crops, masks and recipes -> models/mask.pt. Stage 2: the U-Net, by binary cross-entropy."""

import sys
from pathlib import Path

from portraitist.checkpoint import save
from portraitist.dataset import Folders, Steps
from portraitist.methods import Given
from portraitist.params import AugmentParams, TrainMaskParams, load_or_exit
from portraitist.train import train, write_log

METHOD = "unet_mask"


def main(params: TrainMaskParams, augment: AugmentParams, folders: Folders, dest: Path, log: Path) -> None:
    """Train, save, log."""
    steps = Steps(folders, augment, batch=params.batch, seed=params.seed, diverse=True)
    settings = {"width": params.width, "learning_rate": params.learning_rate}
    learner, terms = train(METHOD, settings, steps, Given(), params)
    save(dest, METHOD, settings, learner, {"epochs": params.epochs, "seed": params.seed})
    write_log(terms, log)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(TrainMaskParams, "train_mask"),
        load_or_exit(AugmentParams, "augment"),
        Folders(*paths[:4]),
        *paths[4:],
    )
