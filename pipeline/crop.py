"""Stage crop: data/clean -> data/crop. One square face for each picture that shows one, or one for each large face."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from portraitist import manifest
from portraitist.clean import Cleaned, RefusedError
from portraitist.crop import Crop, FaceDetector, crop_faces, drawn
from portraitist.parallel import ordered
from portraitist.params import CropParams, load_or_exit
from portraitist.pictures import Sheet, decode, encode, tile
from portraitist.report import Shown, write_report
from portraitist.shards import Shards, ShardWriter
from portraitist.verdict import Verdict

COLUMNS = ["id", "picture", "kind", "verdict", "reason", "score", "transform"]
Row = dict[str, Any]
Made = tuple[Row, dict[str, bytes], list[Sheet]]  # of a face: its row, its shard's members (none: refused), its tiles


class Cropper:
    """A worker: a picture to all faces that are wanted of it."""

    def __init__(self, params: CropParams, source: Path, pretrained: Path) -> None:
        self.params, self.clean, self.detector = params, Shards(source), FaceDetector(pretrained)

    def __call__(self, picture: Row) -> list[Made]:
        """The largest first."""
        cleaned = Cleaned.of(self.clean.members(picture["id"]))
        made: list[Made] = []
        for number, crop in enumerate(crop_faces(cleaned, self.detector, self.params)):
            row = {"id": manifest.face_id(picture["id"], number), "picture": picture["id"], "kind": picture["kind"]}
            if isinstance(crop, RefusedError):
                row |= {"verdict": crop.verdict.value, "reason": str(crop)}
                made.append((row, {}, [tile(cleaned.picture, crop.verdict.value)]))
                continue
            transform = " ".join(f"{value:.5f}" for value in crop.transform.ravel())
            row |= {"verdict": Verdict.KEPT.value, "score": round(crop.face.score, 4), "transform": transform}
            seen = [tile(drawn(cleaned, crop)), tile(crop.square.picture)]
            made.append((row, crop.square.members() | self._truth(picture["id"], crop), seen))
        return made

    def _truth(self, picture: str, crop: Crop) -> dict[str, bytes]:
        if not self.clean.has(picture, "truth.png"):
            return {}
        return {"truth.png": encode(crop.along(decode(self.clean.read(picture, "truth.png"))))}


def main(params: CropParams, source: Path, pretrained: Path, dest: Path, report: Path, sheet: Path) -> None:
    """Crop every clean picture; count what was kept, and why the rest was not."""
    pictures = manifest.kept(source / "manifest.csv")[["id", "kind"]].to_dict("records")
    made = ordered(partial(Cropper, params, source, pretrained), pictures, params.workers)
    rows, shown = [], Shown()
    with ShardWriter(dest, params.shard_size) as shards:
        for faces in tqdm(made, "crop", len(pictures), disable=None):
            for row, members, tiles in faces:
                rows.append(row)
                shown.add(tiles, kept=bool(members))
                if members:
                    shards.add(row["id"], members)
    shown.write(sheet)
    write_report(manifest.write(rows, dest / "manifest.csv", COLUMNS), "crop", report)


if __name__ == "__main__":
    main(load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
