"""Paths of the pipeline's outputs, relative to a checkout in which `dvc repro` has run."""

from pathlib import Path

from portraitist.evaluate.run import ModelPaths
from portraitist.learning.dataset import DatasetPaths

DATASET = DatasetPaths(
    crops=Path("data/crop"),
    masks=Path("data/mask"),
    split=Path("data/split.csv"),
    recipes=Path("data/augment/recipes.csv"),
)
MODELS = ModelPaths(
    segmenter=Path("models/mask.pt"), pretrained=Path("models/pretrained"), identity=Path("data/local/identity")
)
SELFIE_RESULTS = Path("metrics/models/selfies")  # output folder of stage evaluate_selfies
