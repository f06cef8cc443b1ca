"""Stage mask: data/crop -> data/mask. Who is person and who is background, in every crop."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.stage import load_or_exit
from portraitist.clean.decode import RejectedError
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards, ShardWriter
from portraitist.core.types import ContactSheet
from portraitist.core.workers import map_ordered
from portraitist.crop.align import CropImage
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, person_mask
from portraitist.reporting.contact_sheet import labelled_tile
from portraitist.reporting.stage_report import OutcomeSheet, write_stage_metrics

COLUMNS = ["id", "kind", "status", "reason", "from", "truth_iou"]
GREEN = (90, 200, 120)
Row = dict[str, Any]


class MaskWorker:
    """A worker: for each crop its row, its shard's members (none: refused), and its tiles."""

    def __init__(self, params: MaskParams, frame: CropParams, source: Path, pretrained: Path) -> None:
        self.params, self.frame = params, frame
        self.crops, self.segmenter = Shards(source), Segmenter(pretrained, params.model)

    def __call__(self, face: Row) -> tuple[Row, dict[str, bytes], list[ContactSheet]]:
        """Where a truth is known, the row says how near the mask came to it."""
        square = CropImage.from_members(self.crops.members(face["id"]))
        row = face | {"status": Status.KEPT.value, "from": "segmenter" if square.alpha is None else "alpha"}
        try:
            mask = person_mask(square, self.segmenter, self.params, self.frame)
        except RejectedError as error:
            refused = {"status": error.status.value, "reason": str(error)}
            return row | refused, {}, [labelled_tile(square.picture, error.status.value)]
        if self.crops.has(face["id"], "truth.png"):
            row |= {"truth_iou": round(mask_iou(mask, decode_png(self.crops.read(face["id"], "truth.png"))), 4)}
        return row, {"png": encode_png(mask)}, [labelled_tile(alpha_composite(square.picture, mask, GREEN))]


def main(
    params: MaskParams, frame: CropParams, source: Path, pretrained: Path, dest: Path, report: Path, sheet: Path
) -> None:
    """Mask every crop; count what was kept, and why the rest was not."""
    faces = manifest.kept_rows(source / "manifest.csv")[["id", "kind"]].to_dict("records")
    made = map_ordered(partial(MaskWorker, params, frame, source, pretrained), faces, params.workers)
    rows, shown = [], OutcomeSheet()
    with ShardWriter(dest, params.shard_size) as shards:
        for row, members, tiles in tqdm(made, "mask", len(faces), disable=None):
            rows.append(row)
            shown.add(tiles, kept=bool(members))
            if members:
                shards.add(row["id"], members)
    shown.write(sheet)
    write_stage_metrics(manifest.write(rows, dest / "manifest.csv", COLUMNS), "mask", report)


if __name__ == "__main__":
    main(load_or_exit(MaskParams, "mask"), load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
