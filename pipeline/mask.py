"""Stage mask: data/crop -> data/mask. Segment the person in every crop."""

from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit, path_options
from portraitist.core import manifest
from portraitist.core.shards import ShardWriter
from portraitist.core.workers import map_ordered
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.worker import MaskWorker
from portraitist.reporting.stage_report import OutcomeSheet, write_stage_metrics

COLUMNS = ["id", "kind", "status", "reason", "from", "truth_iou"]


def main(
    params: MaskParams, crop_params: CropParams, crops: Path, pretrained: Path, masks: Path, metrics: Path, sheet: Path
) -> None:
    """Mask every crop; count the outcomes."""
    faces = manifest.kept_rows(crops / "manifest.csv")[["id", "kind"]].to_dict("records")
    results = map_ordered(partial(MaskWorker, params, crop_params, crops, pretrained), faces, params.workers)
    rows, outcomes = [], OutcomeSheet()
    with ShardWriter(masks, params.shard_size) as shards:
        for face in tqdm(results, "mask", len(faces), disable=None):
            rows.append(face.row)
            outcomes.add(face.tiles, kept=bool(face.members))
            if face.members:
                shards.add(face.row["id"], face.members)
    outcomes.write(sheet)
    write_stage_metrics(manifest.write(rows, masks / "manifest.csv", COLUMNS), "mask", metrics)


if __name__ == "__main__":
    paths = path_options("crops", "pretrained", "masks", "metrics", "sheet")
    main(load_or_exit(MaskParams, "mask"), load_or_exit(CropParams, "crop"), *paths)
