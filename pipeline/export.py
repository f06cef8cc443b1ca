"""Stage export: models/<method>.pt -> models/portraitist, all that the product needs, held against torch."""

import json
import sys
from pathlib import Path

from portraitist import manifest
from portraitist.card import card
from portraitist.checkpoint import CheckpointError
from portraitist.export import ExportError, export
from portraitist.paint import open_painter
from portraitist.params import ExportParams, load_or_exit
from portraitist.pictures import decode
from portraitist.shards import Shards

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
    trained = {kind: manifest.people(split, kind, "train") for kind in manifest.KINDS}
    ids = trained["selfies"][:CHECKED]
    sources = [(source.get(one, "unknown"), kind) for kind, those in trained.items() for one in those]
    pictures, given = Shards(crops), Shards(masks)
    try:
        painter, about = open_painter(models / f"{params.method}.pt")
        measured = export(
            painter,
            about,
            pretrained,
            params,
            [decode(pictures.read(one, "png")) for one in ids],
            [decode(given.read(one, "png")) for one in ids],
            card(about, json.loads(summary.read_text(encoding="utf-8")), sources),
            dest,
        )
    except (CheckpointError, ExportError) as error:
        sys.exit(f"export: {error}")
    report.write_text(json.dumps({"method": params.method, **measured}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(load_or_exit(ExportParams, "export"), *map(Path, sys.argv[1:]))
