"""Stage crop: data/clean -> data/crop. One square face for each picture that shows one, or one for each large face."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipeline.stage import load_or_exit
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards, ShardWriter
from portraitist.core.types import ContactSheet
from portraitist.core.workers import map_ordered
from portraitist.crop.align import Crop, crop_faces, draw_detection
from portraitist.crop.detector import FaceDetector
from portraitist.crop.params import CropParams
from portraitist.reporting.contact_sheet import labelled_tile
from portraitist.reporting.stage_report import OutcomeSheet, write_stage_metrics

COLUMNS = ["id", "picture", "kind", "status", "reason", "score", "transform"]
Row = dict[str, Any]
Made = tuple[
    Row, dict[str, bytes], list[ContactSheet]
]  # of a face: its row, its shard's members (none: refused), its tiles


class Cropper:
    """A worker: a picture to all faces that are wanted of it."""

    def __init__(self, params: CropParams, source: Path, pretrained: Path) -> None:
        self.params, self.clean, self.detector = params, Shards(source), FaceDetector(pretrained)

    def __call__(self, picture: Row) -> list[Made]:
        """The largest first."""
        cleaned = CleanPicture.from_members(self.clean.members(picture["id"]))
        made: list[Made] = []
        for number, crop in enumerate(crop_faces(cleaned, self.detector, self.params)):
            row = {"id": manifest.face_id(picture["id"], number), "picture": picture["id"], "kind": picture["kind"]}
            if isinstance(crop, RejectedError):
                row |= {"status": crop.status.value, "reason": str(crop)}
                made.append((row, {}, [labelled_tile(cleaned.picture, crop.status.value)]))
                continue
            transform = " ".join(f"{value:.5f}" for value in crop.transform.ravel())
            row |= {"status": Status.KEPT.value, "score": round(crop.face.score, 4), "transform": transform}
            seen = [labelled_tile(draw_detection(cleaned, crop)), labelled_tile(crop.square.picture)]
            made.append((row, crop.square.members() | self._truth(picture["id"], crop), seen))
        return made

    def _truth(self, picture: str, crop: Crop) -> dict[str, bytes]:
        if not self.clean.has(picture, "truth.png"):
            return {}
        return {"truth.png": encode_png(crop.warp(decode_png(self.clean.read(picture, "truth.png"))))}


def main(params: CropParams, source: Path, pretrained: Path, dest: Path, report: Path, sheet: Path) -> None:
    """Crop every clean picture; count what was kept, and why the rest was not."""
    pictures = manifest.kept_rows(source / "manifest.csv")[["id", "kind"]].to_dict("records")
    made = map_ordered(partial(Cropper, params, source, pretrained), pictures, params.workers)
    rows, shown = [], OutcomeSheet()
    with ShardWriter(dest, params.shard_size) as shards:
        for faces in tqdm(made, "crop", len(pictures), disable=None):
            for row, members, tiles in faces:
                rows.append(row)
                shown.add(tiles, kept=bool(members))
                if members:
                    shards.add(row["id"], members)
    shown.write(sheet)
    write_stage_metrics(manifest.write(rows, dest / "manifest.csv", COLUMNS), "crop", report)


if __name__ == "__main__":
    main(load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
