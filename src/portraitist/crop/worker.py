"""Worker of stage `crop`: from a clean picture to the manifest rows, shard members and report tiles of its faces."""

from pathlib import Path
from typing import Any, NamedTuple

from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards
from portraitist.core.types import ContactSheet
from portraitist.crop.align import Crop, crop_faces, draw_detection
from portraitist.crop.detector import FaceDetector
from portraitist.crop.params import CropParams
from portraitist.reporting.contact_sheet import labelled_tile


class CroppedFace(NamedTuple):
    """A face's manifest row, its shard members (empty if it was rejected), and its tiles for the contact sheet."""

    row: dict[str, Any]
    members: dict[str, bytes]
    tiles: list[ContactSheet]


class CropWorker:
    """Crops the faces of one picture per call; each process has its own instance."""

    def __init__(self, params: CropParams, clean: Path, pretrained: Path) -> None:
        self.params, self.clean, self.detector = params, Shards(clean), FaceDetector(pretrained)

    def __call__(self, picture: dict[str, Any]) -> list[CroppedFace]:
        """Return the selected faces of a picture, given by its `id` and `kind`; the largest first."""
        cleaned = CleanPicture.from_members(self.clean.members(picture["id"]))
        crops = crop_faces(cleaned, self.detector, self.params)
        return [self._face(picture, cleaned, number, crop) for number, crop in enumerate(crops)]

    def _face(
        self, picture: dict[str, Any], cleaned: CleanPicture, number: int, crop: Crop | RejectedError
    ) -> CroppedFace:
        row = {"id": manifest.face_id(picture["id"], number), "picture": picture["id"], "kind": picture["kind"]}
        if isinstance(crop, RejectedError):
            row |= {"status": crop.status.value, "reason": str(crop)}
            return CroppedFace(row, {}, [labelled_tile(cleaned.picture, crop.status.value)])
        transform = " ".join(f"{value:.5f}" for value in crop.transform.ravel())
        row |= {"status": Status.KEPT.value, "score": round(crop.face.score, 4), "transform": transform}
        tiles = [labelled_tile(draw_detection(cleaned, crop)), labelled_tile(crop.square.picture)]
        return CroppedFace(row, crop.square.members() | self._exact_mask(picture["id"], crop), tiles)

    def _exact_mask(self, picture: str, crop: Crop) -> dict[str, bytes]:
        if not self.clean.has(picture, "truth.png"):
            return {}
        return {"truth.png": encode_png(crop.warp(decode_png(self.clean.read(picture, "truth.png"))))}
