"""Stage export: models/<method>.pt -> models/portraitist, all that the product needs, held against torch."""

import json
import sys
from pathlib import Path

from pipeline.stage import load_or_exit
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.shards import Shards
from portraitist.export.model_card import model_card
from portraitist.export.onnx_export import ExportError, export_model
from portraitist.export.params import ExportParams
from portraitist.paint import load_method
from portraitist.train.checkpoint import CheckpointError

CHECKED = 16  # selfies that were trained on, painted by both


def main(
    params: ExportParams,
    models: Path,
    pretrained: Path,
    crops: Path,
    masks: Path,
    split: Path,
    clean: Path,
    summary: Path,
    dest: Path,
    report: Path,
) -> None:
    """Export the chosen method's painter with its card, or say in one line why not."""
    source = manifest.read(clean / "manifest.csv").set_index("id")["source"]
    trained = {kind: manifest.split_ids(split, kind, "train") for kind in manifest.KINDS}
    ids = trained["selfies"][:CHECKED]
    sources = [(source.get(one, "unknown"), kind) for kind, those in trained.items() for one in those]
    pictures, given = Shards(crops), Shards(masks)
    try:
        painter, about = load_method(models / f"{params.method}.pt")
        measured = export_model(
            painter,
            about,
            pretrained,
            params,
            [decode_png(pictures.read(one, "png")) for one in ids],
            [decode_png(given.read(one, "png")) for one in ids],
            model_card(about, json.loads(summary.read_text(encoding="utf-8")), sources),
            dest,
        )
    except (CheckpointError, ExportError) as error:
        sys.exit(f"export: {error}")
    report.write_text(json.dumps({"method": params.method, **measured}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(load_or_exit(ExportParams, "export"), *map(Path, sys.argv[1:]))
