"""Stage mask: data/crop -> data/mask. Segment the person in every crop."""

from functools import partial
from pathlib import Path

from pipeline.stage import load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.shards import Shards
from portraitist.core.workers import WorkersParams, map_shards, shard_tasks
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.worker import MaskWorker
from portraitist.reporting.shard_report import merge_reports
from portraitist.reporting.stage_report import write_stage_metrics

COLUMNS = ["id", "kind", "status", "reason", "from", "truth_iou"]


def main(
    params: MaskParams,
    crop_params: CropParams,
    workers: WorkersParams,
    crops: Path,
    pretrained: Path,
    masks: Path,
    metrics: Path,
    sheet: Path,
) -> None:
    """Compute the masks of all crops, shard by shard, and count the kept and the rejected faces."""
    masks.mkdir(parents=True)
    faces = manifest.kept_rows(crops / "manifest.csv")[["id", "kind"]]
    tasks = list(shard_tasks(Shards(crops), {row["id"]: row for row in manifest.to_records(faces)}))
    reports = map_shards(partial(MaskWorker, params, crop_params, pretrained, masks), tasks, workers, "mask")
    write_stage_metrics(merge_reports(reports, masks, COLUMNS, "id", sheet), "mask", metrics)


if __name__ == "__main__":
    paths = path_options("crops", "pretrained", "masks", "metrics", "sheet")
    sections = load_or_exit(MaskParams, "mask"), load_or_exit(CropParams, "crop")
    main(*sections, load_or_exit(WorkersParams, "workers"), *paths)
