"""Function of stage `mask` that runs in worker processes: it computes the masks of the crops in one shard."""

from collections.abc import Iterator
from pathlib import Path

from portraitist.clean.decode import RejectedError
from portraitist.core.blend import alpha_composite
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import write_shard
from portraitist.core.workers import ShardTask
from portraitist.crop.align import CropImage
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, check_person_share, locate_person
from portraitist.reporting.contact_sheet import labelled_tile
from portraitist.reporting.shard_report import ShardReport

BACKDROP = (90, 200, 120)  # colour behind the person on the contact sheet


class MaskWorker:
    """Function object that computes the masks of one shard per call; each worker process has its own.

    Args:
        params: section `mask` of params.yaml.
        crop_params: section `crop` of params.yaml.
        pretrained: the folder that stage `weights` writes.
        masks: folder to which shards of masks are written.
    """

    def __init__(self, params: MaskParams, crop_params: CropParams, pretrained: Path, masks: Path) -> None:
        self.params, self.crop_params = params, crop_params
        self.segmenter, self.masks = Segmenter(pretrained, params.model), masks

    def __call__(self, task: ShardTask) -> ShardReport:
        """Write a shard with the masks of the task's faces, and return a report with one row for each face.

        Args:
            task: the faces to process. Each row in `task.pictures` has an `id`, and a `kind`: "selfies" or "portraits".
        """
        report = ShardReport()
        report.index = write_shard(self.masks / task.name, self._kept(task, report))
        return report

    def _kept(self, task: ShardTask, report: ShardReport) -> Iterator[tuple[str, dict[str, bytes]]]:
        """Yield the id and the mask of each accepted face; add every face to the report.

        If an exact mask exists, the report contains the intersection over union with it.
        """
        for face in task.pictures:
            row = {"id": face["id"], "kind": face["kind"], "status": Status.KEPT.value}
            report.rows.append(row)
            if face["id"] in task.rejected:
                row |= {"status": Status.TOO_COSTLY.value, "reason": task.rejected[face["id"]]}
                continue
            square = CropImage.from_members(task.shards.members(face["id"]))
            mask, row["from"] = locate_person(square, self.segmenter, self.crop_params)
            try:
                check_person_share(mask, self.params)
            except RejectedError as error:
                row |= {"status": error.status.value, "reason": str(error)}
                report.sheet.add([labelled_tile(square.picture, error.status.value)], kept=False)
                continue
            if task.shards.has(face["id"], "truth.png"):
                truth = decode_png(task.shards.read(face["id"], "truth.png"))
                row["truth_iou"] = round(mask_iou(mask, truth), 4)
            report.sheet.add([labelled_tile(alpha_composite(square.picture, mask, BACKDROP))], kept=True)
            yield face["id"], {"png": encode_png(mask)}
