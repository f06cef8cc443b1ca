"""Stage evaluate: data/paint/<method> -> metrics/models/<method>. Every metric, and each face's own value."""

import sys
from pathlib import Path

from pipeline.stage import load_or_exit
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.run import Nets
from portraitist.train.batches import DatasetPaths


def main(params: EvaluateParams, frame: CropParams, paint: Path, folders: DatasetPaths, nets: Nets, dest: Path) -> None:
    """Measure what one method painted, and keep what the comparison shows of it."""
    evidence = run.gather_or_exit("evaluate", params, frame, run.painted_by(paint), folders, nets)
    run.keep(run.measured(evidence), evidence, params.sheet_rows, dest)


if __name__ == "__main__":
    paint, *paths = map(Path, sys.argv[1:])
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        paint,
        DatasetPaths(*paths[:4]),
        Nets(*paths[4:7]),
        *paths[7:],
    )
