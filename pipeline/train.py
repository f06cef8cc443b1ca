"""Stage train: one method's own training -> models/<method>.pt. Those that begin at stage 1 are given its generator."""

import sys
from pathlib import Path
from typing import Any

from portraitist.checkpoint import part_of
from portraitist.dataset import Folders
from portraitist.methods import Given, settings_of
from portraitist.nets.features import content_features, weights_of
from portraitist.pairs import NoPairsError, pairs_of
from portraitist.params import (
    AugmentParams,
    ContentParams,
    CropParams,
    GeneratorParams,
    MaskParams,
    ParamsError,
    TrainParams,
    load_or_exit,
    method_or_exit,
)
from portraitist.train import Task, learn_or_exit


def main(
    name: str,
    params: TrainParams,
    settings: dict[str, Any],
    content: ContentParams,
    augment: AugmentParams,
    about: dict[str, Any],
    folders: Folders,
    pretrained: Path,
    generator: Path,
    masker: Path,
    dest: Path,
    log: Path,
    shown: Path,
) -> None:
    """Train, save with all that painting needs, log, show. A folder in place of a model: the method does without it."""
    made = {"generator": generator, "masker": masker}
    parts = {name: path for name, path in made.items() if path.suffix}
    features = content_features(content.network, pretrained)
    given = Given(features, **{name: part_of(path, name) for name, path in parts.items()})
    pairs = pairs_of(settings["pairs"], folders) if "pairs" in settings else None
    read = (weights_of(content.network, pretrained), *parts.values())
    task = Task(name, settings, params, augment, diverse=False, folders=folders, parts=read, pairs=pairs)
    learn_or_exit(task, given, about, dest, log, shown)


if __name__ == "__main__":
    name, paths = sys.argv[1], list(map(Path, sys.argv[2:]))
    params, shape = load_or_exit(TrainParams, "train"), load_or_exit(GeneratorParams, "generator")
    frame, mask = load_or_exit(CropParams, "crop"), load_or_exit(MaskParams, "mask")
    offered = {**shape.model_dump(), **params.model_dump(), **frame.model_dump()}
    try:
        main(
            name,
            params,
            settings_of(name, offered, method_or_exit(name)),
            load_or_exit(ContentParams, "content"),
            load_or_exit(AugmentParams, "augment"),
            {"crop": frame.model_dump(), "mask": mask.model_dump()},
            Folders(*paths[:4]),
            *paths[4:],
        )
    except (NoPairsError, ParamsError) as error:
        sys.exit(f"train {name}: {error}")
