"""Stage train_generator: pretrain the generator by a perceptual loss, stage 1 of training -> models/generator.pt."""

from pipeline.stage import check_methods_or_exit, load_or_exit, path_options
from portraitist.augment.params import AugmentParams
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.features import load_feature_network, weights_file
from portraitist.learning.method import UpstreamModels
from portraitist.learning.params import ContentParams
from portraitist.learning.registry import method_settings
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.params import GeneratorParams, TrainGeneratorParams

METHOD = "perceptual"


def main() -> None:
    """Check the parameters of all methods, which later stages use; then train the generator."""
    *data, pretrained, out, log = path_options("crops", "masks", "split", "recipes", "pretrained", "out", "log")
    check_methods_or_exit()  # an invalid value stops the run now, not hours later in stage train
    params, shape = load_or_exit(TrainGeneratorParams, "train_generator"), load_or_exit(GeneratorParams, "generator")
    content = load_or_exit(ContentParams, "content")
    settings = method_settings(METHOD, {"generator": shape.model_dump(), "train_generator": params.model_dump()}, {})
    task = TrainingTask(
        METHOD,
        settings,
        params,
        load_or_exit(AugmentParams, "augment"),
        diverse=True,
        paths=DatasetPaths(*data),
        upstream=UpstreamModels(load_feature_network(content.network, pretrained)),
        upstream_files=(weights_file(content.network, pretrained),),
    )
    train_or_exit(task, {}, out, log)


if __name__ == "__main__":
    main()
