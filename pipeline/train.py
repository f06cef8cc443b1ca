"""Stage train: one method's own training -> models/<method>.pt. Those that begin at stage 1 are given its generator."""

import sys
from pathlib import Path
from typing import Any

from pipeline.stage import load_methods_or_exit, load_or_exit
from portraitist.augment.params import AugmentParams
from portraitist.core.params import ParamsError
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.methods.base import UpstreamModels
from portraitist.methods.registry import method_settings
from portraitist.nets.features import load_feature_network, weights_file
from portraitist.train.batches import DatasetPaths
from portraitist.train.checkpoint import load_network
from portraitist.train.loop import TrainingTask, train_or_exit
from portraitist.train.pairing import NoPairsError, find_pairs
from portraitist.train.params import ContentParams, GeneratorParams, TrainParams


def main(
    name: str,
    params: TrainParams,
    settings: dict[str, Any],
    content: ContentParams,
    augment: AugmentParams,
    about: dict[str, Any],
    folders: DatasetPaths,
    pretrained: Path,
    generator: Path,
    segmenter: Path,
    dest: Path,
    log: Path,
    shown: Path,
) -> None:
    """Train, save with all that painting needs, log, show. A folder in place of a model: the method does without it."""
    made = {"generator": generator, "segmenter": segmenter}
    parts = {name: path for name, path in made.items() if path.suffix}
    features = load_feature_network(content.network, pretrained)
    given = UpstreamModels(features, **{name: load_network(path, name) for name, path in parts.items()})
    pairs = find_pairs(settings["pairs"], folders) if "pairs" in settings else None
    read = (weights_file(content.network, pretrained), *parts.values())
    task = TrainingTask(name, settings, params, augment, diverse=False, folders=folders, parts=read, pairs=pairs)
    train_or_exit(task, given, about, dest, log, shown)


if __name__ == "__main__":
    name, paths = sys.argv[1], list(map(Path, sys.argv[2:]))
    params, shape = load_or_exit(TrainParams, "train"), load_or_exit(GeneratorParams, "generator")
    frame, mask = load_or_exit(CropParams, "crop"), load_or_exit(MaskParams, "mask")
    offered = {**shape.model_dump(), **params.model_dump(), **frame.model_dump()}
    try:
        main(
            name,
            params,
            method_settings(name, offered, load_methods_or_exit()[name]),
            load_or_exit(ContentParams, "content"),
            load_or_exit(AugmentParams, "augment"),
            {"crop": frame.model_dump(), "mask": mask.model_dump()},
            DatasetPaths(*paths[:4]),
            *paths[4:],
        )
    except (NoPairsError, ParamsError) as error:
        sys.exit(f"train {name}: {error}")
