"""Stage crop: data/clean -> data/crop. Cut an aligned square around the largest face of each picture, or each face."""

from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.shards import ShardWriter
from portraitist.core.workers import map_ordered
from portraitist.crop.params import CropParams
from portraitist.crop.worker import CropWorker
from portraitist.reporting.stage_report import OutcomeSheet, write_stage_metrics

COLUMNS = ["id", "picture", "kind", "status", "reason", "score", "transform"]


def main(params: CropParams, clean: Path, pretrained: Path, crops: Path, metrics: Path, sheet: Path) -> None:
    """Crop every clean picture; count the outcomes."""
    pictures = manifest.kept_rows(clean / "manifest.csv")[["id", "kind"]].to_dict("records")
    results = map_ordered(partial(CropWorker, params, clean, pretrained), pictures, params.workers)
    rows, outcomes = [], OutcomeSheet()
    with ShardWriter(crops, params.shard_size) as shards:
        for faces in tqdm(results, "crop", len(pictures), disable=None):
            for face in faces:
                rows.append(face.row)
                outcomes.add(face.tiles, kept=bool(face.members))
                if face.members:
                    shards.add(face.row["id"], face.members)
    outcomes.write(sheet)
    write_stage_metrics(manifest.write(rows, crops / "manifest.csv", COLUMNS), "crop", metrics)


if __name__ == "__main__":
    main(load_or_exit(CropParams, "crop"), *path_options("clean", "pretrained", "crops", "metrics", "sheet"))
