"""Stage evaluate_selfies: the metrics of selfies as they are, the segmenter's, and groups: what no method changes."""

import sys
from pathlib import Path

from pipeline.stage import load_or_exit
from portraitist.core import manifest
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.run import Nets
from portraitist.train.batches import DatasetPaths


def main(
    params: EvaluateParams, frame: CropParams, folders: DatasetPaths, turned: Path, nets: Nets, clean: Path, dest: Path
) -> None:
    """Measure the selfies, unchanged, as if a method had painted them; and keep what is one for all methods."""
    evidence = run.gather_or_exit("evaluate_selfies", params, frame, run.not_painted(folders, turned), folders, nets)
    run.keep(run.measured(evidence), evidence, params.sheet_rows, dest)
    pictures = manifest.kept_rows(clean / "manifest.csv").rename(columns={"id": "picture"})
    faces = manifest.kept_rows(folders.crops / "manifest.csv")[["id", "picture"]].merge(pictures, on="picture")
    run.keep_once(evidence, faces[["id", "source"]], dest)


if __name__ == "__main__":
    folders, (turned, *paths) = DatasetPaths(*map(Path, sys.argv[1:5])), map(Path, sys.argv[5:])
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        folders,
        turned,
        Nets(*paths[:3]),
        *paths[3:],
    )
