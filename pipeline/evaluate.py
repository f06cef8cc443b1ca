"""Stage evaluate: data/paint/<method> -> metrics/models/<method>. Every metric, and each face's own value."""

import sys
from pathlib import Path

from portraitist import evaluation
from portraitist.dataset import Folders
from portraitist.evaluation import Nets
from portraitist.params import CropParams, EvaluateParams, load_or_exit


def main(params: EvaluateParams, frame: CropParams, paint: Path, folders: Folders, nets: Nets, dest: Path) -> None:
    """Measure what one method painted, and keep what the comparison shows of it."""
    evidence = evaluation.gather_or_exit("evaluate", params, frame, evaluation.painted_by(paint), folders, nets)
    evaluation.keep(evaluation.measured(evidence), evidence, params.sheet_rows, dest)


if __name__ == "__main__":
    paint, *paths = map(Path, sys.argv[1:])
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        paint,
        Folders(*paths[:4]),
        Nets(*paths[4:7]),
        *paths[7:],
    )
