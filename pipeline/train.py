"""Stage train: train one method -> models/<method>.pt, and logs/train/<method> with losses and sample pictures."""

from pipeline.stage import check_methods_or_exit, load_methods_or_exit, load_or_exit, path_options
from portraitist.augment.params import AugmentParams
from portraitist.crop.params import CropParams
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.params import ContentParams
from portraitist.learning.registry import method_settings
from portraitist.learning.upstream import load_upstream_models
from portraitist.mask.params import MaskParams
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.pairing import find_pairs
from portraitist.train.params import GeneratorParams, TrainParams


def main() -> None:
    """Train one method.

    --generator and --segmenter are models of the stages train_generator and train_mask. dvc.yaml has one command for
    all methods: if a method does not need a model, the command passes the folder --pretrained instead of the model.
    """
    names = ("crops", "masks", "split", "recipes", "pretrained", "out", "log")
    options = path_options(*names, words=["method"], optional=["generator", "segmenter"])
    *data, pretrained, out, log, name, generator, segmenter = options
    check_methods_or_exit()  # of all methods: an invalid value stops the run before the first training
    params, augment = load_or_exit(TrainParams, "train"), load_or_exit(AugmentParams, "augment")
    crop, mask = load_or_exit(CropParams, "crop").model_dump(), load_or_exit(MaskParams, "mask").model_dump()
    shape, content = load_or_exit(GeneratorParams, "generator").model_dump(), load_or_exit(ContentParams, "content")
    shared = {"crop": crop, "train": params.model_dump(), "generator": shape}
    settings = method_settings(name, shared, load_methods_or_exit().get(name, {}))
    models = [None if path == pretrained else path for path in (generator, segmenter)]
    upstream = load_upstream_models(content.network, pretrained, *models)
    files = tuple(filter(None, (pretrained, *models)))
    paths = DatasetPaths(*data)
    pairs = find_pairs(settings["pairs"], paths) if "pairs" in settings else None
    task = TrainingTask(name, settings, params, augment, False, paths, upstream, files, pairs)
    train_or_exit(task, {"crop": crop, "mask": mask}, out, log)


if __name__ == "__main__":
    main()
