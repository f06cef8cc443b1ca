"""Stage train: train one method -> models/<method>.pt, and logs/train/<method> with losses and sample pictures."""

from pipeline.stage import load_methods_or_exit, load_or_exit, path_options
from portraitist.augment.params import AugmentParams
from portraitist.crop.params import CropParams
from portraitist.learning.checkpoint import load_network
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.features import load_feature_network
from portraitist.learning.method import UpstreamModels
from portraitist.learning.params import ContentParams
from portraitist.learning.registry import method_settings
from portraitist.mask.params import MaskParams
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.pairing import find_pairs
from portraitist.train.params import GeneratorParams, TrainParams


def main() -> None:
    """Train one method.

    The option --generator is the path of the model of stage train_generator, and --segmenter is the path of the model
    of stage train_mask. An option is omitted if the method does not need its model. The command in dvc.yaml is the same
    for all methods and cannot omit options. It therefore passes the folder of pretrained models instead, which is also
    the value of --pretrained.
    """
    *data, pretrained, out, log, name, generator, segmenter = path_options(
        *("crops", "masks", "split", "recipes", "pretrained", "out", "log"),
        words=["method"],
        optional=["generator", "segmenter"],
    )
    params, paths = load_or_exit(TrainParams, "train"), DatasetPaths(*data)
    generator, segmenter = (None if path == pretrained else path for path in (generator, segmenter))
    crop, mask = load_or_exit(CropParams, "crop"), load_or_exit(MaskParams, "mask")
    content, shape = load_or_exit(ContentParams, "content"), load_or_exit(GeneratorParams, "generator")
    shared = {"crop": crop.model_dump(), "train": params.model_dump(), "generator": shape.model_dump()}
    settings = method_settings(name, shared, load_methods_or_exit().get(name, {}))
    upstream = UpstreamModels(
        load_feature_network(content.network, pretrained),
        load_network(generator, "generator") if generator else None,
        load_network(segmenter, "segmenter") if segmenter else None,
        pretrained,
    )
    task = TrainingTask(
        name,
        settings,
        params,
        load_or_exit(AugmentParams, "augment"),
        diverse=False,
        paths=paths,
        upstream=upstream,
        upstream_files=tuple(filter(None, (pretrained, generator, segmenter))),
        pairs=find_pairs(settings["pairs"], paths) if "pairs" in settings else None,
    )
    train_or_exit(task, {"crop": crop.model_dump(), "mask": mask.model_dump()}, out, log)


if __name__ == "__main__":
    main()
