"""Stage evaluate_selfies: the metrics of selfies as they are, the masker's, and groups: what no method changes."""

import sys
from pathlib import Path

from portraitist import evaluation, manifest
from portraitist.dataset import Folders
from portraitist.params import CropParams, EvaluateParams, load_or_exit
from portraitist.weights import WeightsError

NAME = "selfies"


def main(
    params: EvaluateParams,
    frame: CropParams,
    folders: Folders,
    turned: Path,
    masker: Path,
    pretrained: Path,
    clean: Path,
    dest: Path,
) -> None:
    """Measure the selfies, unchanged, as if a method had painted them; and keep what is one for all methods."""
    try:
        done = evaluation.not_painted(folders, turned)
        evidence = evaluation.gather(params, frame, done, folders, masker, pretrained)
    except WeightsError as error:
        sys.exit(f"evaluate_selfies: {error}; or `evaluate.inception: false` in the profile leaves FID and KID out")
    evaluation.keep(evaluation.measured(evidence), evidence, NAME, params.sheet_rows, dest)
    pictures = manifest.kept(clean / "manifest.csv")[["id", "source"]].rename(columns={"id": "picture"})
    faces = manifest.kept(folders.crops / "manifest.csv")[["id", "picture"]]
    evaluation.keep_once(evidence, faces.merge(pictures, on="picture")[["id", "source"]], dest)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        Folders(*paths[:4]),
        *paths[4:],
    )
