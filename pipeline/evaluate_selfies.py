"""Stage evaluate_selfies: the metrics of selfies as they are, the masker's, and groups: what no method changes."""

import sys
from pathlib import Path

import pandas as pd

from portraitist import evaluation, manifest
from portraitist.dataset import Folders
from portraitist.evaluation import Nets
from portraitist.nets.identity import IdentityError
from portraitist.params import CropParams, EvaluateParams, load_or_exit
from portraitist.weights import WeightsError

NAME = "selfies"
KNOWN = ["source", "glasses"]  # columns of a source's manifest that are groups, where it has them


def main(
    params: EvaluateParams, frame: CropParams, folders: Folders, turned: Path, nets: Nets, dest: Path, *sources: Path
) -> None:
    """Measure the selfies, unchanged, as if a method had painted them; and keep what is one for all methods."""
    try:
        evidence = evaluation.gather(params, frame, evaluation.not_painted(folders, turned), folders, nets)
    except WeightsError as error:
        sys.exit(f"evaluate_selfies: {error}; or `evaluate.inception: false` in the profile leaves FID and KID out")
    except IdentityError as error:
        sys.exit(f"evaluate_selfies: {error}")
    evaluation.keep(evaluation.measured(evidence), evidence, NAME, params.sheet_rows, dest)
    named = pd.concat([manifest.kept(source / "manifest.csv") for source in sources]).drop_duplicates("id")
    evaluation.keep_once(evidence, named[["id", *(column for column in KNOWN if column in named)]], dest)


if __name__ == "__main__":
    folders, (turned, *paths) = Folders(*map(Path, sys.argv[1:5])), map(Path, sys.argv[5:])
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        folders,
        turned,
        Nets(*paths[:3]),
        *paths[3:],
    )
