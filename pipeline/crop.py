"""Stage crop: data/clean -> data/crop. Cut an aligned square around the faces of each picture.

With `crop.faces: largest` in params.yaml, only the largest face of a picture is cut out. With `crop.faces: each`, all
faces are cut out, except those that are much smaller than the largest face (`crop.min_relative_size`).
"""

from functools import partial
from pathlib import Path

from pipeline.stage import load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.shards import Shards
from portraitist.core.workers import WorkersParams, map_shards, shard_tasks
from portraitist.crop.params import CropParams
from portraitist.crop.worker import CropWorker
from portraitist.reporting.shard_report import merge_reports
from portraitist.reporting.stage_report import write_stage_metrics

COLUMNS = ["id", "picture", "kind", "status", "reason", "score", "transform"]


def main(
    params: CropParams, workers: WorkersParams, clean: Path, pretrained: Path, crops: Path, metrics: Path, sheet: Path
) -> None:
    """Crop every clean picture, shard by shard, and count the kept and the rejected faces."""
    crops.mkdir(parents=True)
    pictures = manifest.kept_rows(clean / "manifest.csv")[["id", "kind"]]
    tasks = list(shard_tasks(Shards(clean), {row["id"]: row for row in manifest.to_records(pictures)}))
    reports = map_shards(partial(CropWorker, params, pretrained, crops), tasks, workers, "crop")
    write_stage_metrics(merge_reports(reports, crops, COLUMNS, "picture", sheet), "crop", metrics)


if __name__ == "__main__":
    paths = path_options("clean", "pretrained", "crops", "metrics", "sheet")
    main(load_or_exit(CropParams, "crop"), load_or_exit(WorkersParams, "workers"), *paths)
