"""Function of stage `crop` that runs in worker processes: it crops the pictures of one shard."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards, write_shard
from portraitist.core.workers import ShardTask
from portraitist.crop.align import Crop, crop_faces, draw_detection
from portraitist.crop.detector import FaceDetector
from portraitist.crop.params import CropParams
from portraitist.reporting.contact_sheet import labelled_tile
from portraitist.reporting.shard_report import ShardReport


class CropWorker:
    """Function object that crops the faces in the pictures of one shard per call; each worker process has its own.

    Args:
        params: section `crop` of params.yaml.
        pretrained: the folder that stage `weights` writes.
        crops: folder to which shards of crops are written.
    """

    def __init__(self, params: CropParams, pretrained: Path, crops: Path) -> None:
        self.params, self.detector, self.crops = params, FaceDetector(pretrained), crops

    def __call__(self, task: ShardTask) -> ShardReport:
        """Crop the faces in the task's pictures, write the crops to a shard, and report each face.

        Args:
            task: the pictures of one shard. Their manifest rows must have an `id` and a `kind`.
        """
        report = ShardReport()
        report.index = write_shard(self.crops / task.name, self._faces(task, report))
        return report

    def _faces(self, task: ShardTask, report: ShardReport) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yield the id and the files of each accepted face; add every face to the report."""
        for picture in task.pictures:
            if picture["id"] in task.rejected:
                row = _face_row(picture, 0) | {"status": Status.TOO_COSTLY.value}
                report.rows.append(row | {"reason": task.rejected[picture["id"]]})
                continue
            cleaned = CleanPicture.from_members(task.shards.members(picture["id"]))
            for number, crop in enumerate(crop_faces(cleaned, self.detector, self.params)):
                row = _face_row(picture, number)
                if isinstance(crop, RejectedError):
                    report.rows.append(row | {"status": crop.status.value, "reason": str(crop)})
                    report.sheet.add([labelled_tile(cleaned.picture, crop.status.value)], kept=False)
                    continue
                transform = " ".join(f"{value:.5f}" for value in crop.transform.ravel())
                row |= {"status": Status.KEPT.value, "score": round(crop.face.score, 4), "transform": transform}
                report.rows.append(row)
                tiles = [labelled_tile(draw_detection(cleaned, crop)), labelled_tile(crop.square.picture)]
                report.sheet.add(tiles, kept=True)
                yield row["id"], crop.square.members() | _exact_mask(task.shards, picture["id"], crop)


def _face_row(picture: Mapping[str, Any], number: int) -> dict[str, Any]:
    face = manifest.face_id(picture["id"], number)
    return {"id": face, "picture": picture["id"], "kind": picture["kind"]}


def _exact_mask(clean: Shards, picture: str, crop: Crop) -> dict[str, bytes]:
    if not clean.has(picture, "truth.png"):
        return {}
    return {"truth.png": encode_png(crop.warp(decode_png(clean.read(picture, "truth.png"))))}
