"""Stage evaluate: compute all metrics of the test selfies that one method has stylized."""

from pathlib import Path

from pipeline.stage import load_or_exit, path_options
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.learning.dataset import DatasetPaths


def main(
    params: EvaluateParams,
    crop_params: CropParams,
    stylized: Path,
    selfie_results: Path,
    paths: DatasetPaths,
    models: run.ModelPaths,
    out: Path,
) -> None:
    """Compute all metrics of one method and write them to a folder."""
    avatars = run.stylized_by_method(stylized, selfie_results)
    data = run.load_data_or_exit("evaluate", params, crop_params, avatars, paths, models)
    run.save_results(run.measure_all(data), data, params.sheet_rows, out)


if __name__ == "__main__":
    stylized, selfies, crops, masks, split, recipes, segmenter, pretrained, identity, out = path_options(
        "stylized", "selfies", "crops", "masks", "split", "recipes", "segmenter", "pretrained", "identity", "out"
    )
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        stylized,
        selfies,
        DatasetPaths(crops, masks, split, recipes),
        run.ModelPaths(segmenter, pretrained, identity),
        out,
    )
