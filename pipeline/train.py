"""Stage train: one method's own training -> models/<method>.pt. Those that begin at stage 1 are given its generator."""

import sys
from pathlib import Path
from typing import Any

from portraitist.checkpoint import part_of
from portraitist.dataset import Folders
from portraitist.methods import Given, checked
from portraitist.nets.features import content_features, weights_of
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
    """Train, save with all that painting needs, log, show."""
    features = content_features(content.network, pretrained)
    given = Given(features, part_of(generator, "generator"), part_of(masker, "masker"))
    parts = (weights_of(content.network, pretrained), generator, masker)
    task = Task(name, settings, params, augment, diverse=False, folders=folders, parts=parts)
    learn_or_exit(task, given, about, dest, log, shown)


if __name__ == "__main__":
    name, paths = sys.argv[1], list(map(Path, sys.argv[2:]))
    params, shape = load_or_exit(TrainParams, "train"), load_or_exit(GeneratorParams, "generator")
    shared = params.model_dump(include={"learning_rate", "content_weight", "average"})
    about = {"crop": load_or_exit(CropParams, "crop"), "mask": load_or_exit(MaskParams, "mask")}
    settings = {**shape.model_dump(), **shared, **method_or_exit(name)}
    try:
        checked(name, settings)
    except ParamsError as error:
        sys.exit(f"train {name}: {error}")
    main(
        name,
        params,
        settings,
        load_or_exit(ContentParams, "content"),
        load_or_exit(AugmentParams, "augment"),
        {key: section.model_dump() for key, section in about.items()},
        Folders(*paths[:4]),
        *paths[4:],
    )
