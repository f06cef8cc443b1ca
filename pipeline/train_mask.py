"""Stage train_mask: train the U-Net segmenter by binary cross-entropy, stage 2 of training -> models/mask.pt."""

from pipeline.stage import check_methods_or_exit, load_or_exit, path_options
from portraitist.augment.params import AugmentParams
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.method import UpstreamModels
from portraitist.learning.registry import method_settings
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.params import TrainMaskParams

METHOD = "unet_mask"


def main() -> None:
    """Check the parameters of all methods; then train the segmenter, with each person on several backgrounds."""
    *data, out, log = path_options("crops", "masks", "split", "recipes", "out", "log")
    check_methods_or_exit()  # an invalid value stops the run now, not hours later in stage train
    params = load_or_exit(TrainMaskParams, "train_mask")
    task = TrainingTask(
        METHOD,
        method_settings(METHOD, {"train_mask": params.model_dump()}, {}),
        params,
        load_or_exit(AugmentParams, "augment"),
        diverse=True,
        paths=DatasetPaths(*data),
        upstream=UpstreamModels(),
        upstream_files=(),
    )
    train_or_exit(task, {}, out, log)


if __name__ == "__main__":
    main()
