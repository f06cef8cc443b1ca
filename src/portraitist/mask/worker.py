"""Worker of stage `mask`: from a crop to its manifest row, shard member and report tile."""

from pathlib import Path
from typing import Any, NamedTuple

from portraitist.clean.decode import RejectedError
from portraitist.core.blend import alpha_composite
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards
from portraitist.core.types import ContactSheet
from portraitist.crop.align import CropImage
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, check_person_share, locate_person
from portraitist.reporting.contact_sheet import labelled_tile

BACKDROP = (90, 200, 120)  # behind the person on the contact sheet


class MaskedFace(NamedTuple):
    """A face's manifest row, its shard members (empty if it was rejected), and its tiles for the contact sheet."""

    row: dict[str, Any]
    members: dict[str, bytes]
    tiles: list[ContactSheet]


class MaskWorker:
    """Masks one crop per call; each process has its own instance."""

    def __init__(self, params: MaskParams, crop_params: CropParams, crops: Path, pretrained: Path) -> None:
        self.params, self.crop_params = params, crop_params
        self.crops, self.segmenter = Shards(crops), Segmenter(pretrained, params.model)

    def __call__(self, face: dict[str, Any]) -> MaskedFace:
        """Mask the face with an `id` and `kind`; if its exact mask is known, the row holds the IoU with it."""
        square = CropImage.from_members(self.crops.members(face["id"]))
        mask, origin = locate_person(square, self.segmenter, self.crop_params)
        row = face | {"status": Status.KEPT.value, "from": origin}
        try:
            check_person_share(mask, self.params)
        except RejectedError as error:
            row |= {"status": error.status.value, "reason": str(error)}
            return MaskedFace(row, {}, [labelled_tile(square.picture, error.status.value)])
        if self.crops.has(face["id"], "truth.png"):
            row |= {"truth_iou": round(mask_iou(mask, decode_png(self.crops.read(face["id"], "truth.png"))), 4)}
        tile = labelled_tile(alpha_composite(square.picture, mask, BACKDROP))
        return MaskedFace(row, {"png": encode_png(mask)}, [tile])
