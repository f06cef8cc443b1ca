"""Stage evaluate_selfies: the metrics of selfies as they are, the masker's, and groups: what no method changes."""

import sys
from pathlib import Path

import pandas as pd

from portraitist import evaluation, manifest
from portraitist.dataset import Folders
from portraitist.params import CropParams, EvaluateParams, load_or_exit
from portraitist.weights import WeightsError

NAME = "selfies"
KNOWN = ["source", "glasses"]  # columns of a source's manifest that are groups, where it has them


def main(
    params: EvaluateParams,
    frame: CropParams,
    folders: Folders,
    turned: Path,
    masker: Path,
    pretrained: Path,
    dest: Path,
    *sources: Path,
) -> None:
    """Measure the selfies, unchanged, as if a method had painted them; and keep what is one for all methods."""
    try:
        done = evaluation.not_painted(folders, turned)
        evidence = evaluation.gather(params, frame, done, folders, masker, pretrained)
    except WeightsError as error:
        sys.exit(f"evaluate_selfies: {error}; or `evaluate.inception: false` in the profile leaves FID and KID out")
    evaluation.keep(evaluation.measured(evidence), evidence, NAME, params.sheet_rows, dest)
    named = pd.concat([manifest.kept(source / "manifest.csv") for source in sources]).drop_duplicates("id")
    evaluation.keep_once(evidence, named[["id", *(column for column in KNOWN if column in named)]], dest)


if __name__ == "__main__":
    paths = list(map(Path, sys.argv[1:]))
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        Folders(*paths[:4]),
        *paths[4:],
    )
