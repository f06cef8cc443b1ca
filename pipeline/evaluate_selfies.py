"""Stage evaluate_selfies: compute all metrics of the unchanged test selfies, as a baseline for the methods."""

from pathlib import Path

from pipeline.stage import load_or_exit, path_options
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.learning.dataset import DatasetPaths


def main(
    params: EvaluateParams,
    crop_params: CropParams,
    paths: DatasetPaths,
    on_backgrounds: Path,
    models: run.ModelPaths,
    clean: Path,
    out: Path,
) -> None:
    """Measure the unchanged selfies, the segmenter and the portrait classifier.

    Also save the skin tone, light, pose and source of each selfie, and the features of all images that no method
    changes.
    """
    selfies = run.unchanged_selfies(paths, on_backgrounds)
    data = run.load_data_or_exit("evaluate_selfies", params, crop_params, selfies, paths, models)
    run.save_results(run.measure_all(data), data, params.sheet_rows, out)
    run.save_shared_results(data, run.face_sources(paths.crops, clean), out)


if __name__ == "__main__":
    crops, masks, split, recipes, on_backgrounds, segmenter, pretrained, identity, clean, out = path_options(
        "crops", "masks", "split", "recipes", "on-backgrounds", "segmenter", "pretrained", "identity", "clean", "out"
    )
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        DatasetPaths(crops, masks, split, recipes),
        on_backgrounds,
        run.ModelPaths(segmenter, pretrained, identity),
        clean,
        out,
    )
