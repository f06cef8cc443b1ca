"""Stage evaluate_selfies: the metrics of selfies as they are, the masker's, and groups: what no method changes."""

import sys
from pathlib import Path

from portraitist import evaluation, manifest
from portraitist.dataset import Folders
from portraitist.evaluation import Nets
from portraitist.params import CropParams, EvaluateParams, load_or_exit


def main(
    params: EvaluateParams, frame: CropParams, folders: Folders, turned: Path, nets: Nets, clean: Path, dest: Path
) -> None:
    """Measure the selfies, unchanged, as if a method had painted them; and keep what is one for all methods."""
    evidence = evaluation.gather_or_exit(
        "evaluate_selfies", params, frame, evaluation.not_painted(folders, turned), folders, nets
    )
    evaluation.keep(evaluation.measured(evidence), evidence, params.sheet_rows, dest)
    pictures = manifest.kept(clean / "manifest.csv").rename(columns={"id": "picture"})
    faces = manifest.kept(folders.crops / "manifest.csv")[["id", "picture"]].merge(pictures, on="picture")
    evaluation.keep_once(evidence, faces[["id", "source"]], dest)


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
