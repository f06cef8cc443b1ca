"""Stage export: models/<method>.pt -> models/portraitist.onnx, held against torch."""

import json
import sys
from pathlib import Path

from portraitist.checkpoint import open_learner
from portraitist.export import ExportError, export
from portraitist.methods import Painter
from portraitist.params import ExportParams, load_or_exit


def main(params: ExportParams, folder: Path, dest: Path, report: Path) -> None:
    """Export the chosen method's painter, or say in one line why not."""
    painter, about = open_learner(folder / f"{params.method}.pt")
    if not isinstance(painter, Painter):
        sys.exit(f"export: {params.method} does not paint")
    try:
        measured = export(painter, about, dest, params.max_error)
    except ExportError as error:
        sys.exit(f"export: {error}")
    report.write_text(json.dumps({"method": params.method, **measured}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(load_or_exit(ExportParams, "export"), *map(Path, sys.argv[1:]))
