"""Stage mask: data/crop -> data/mask. Who is person and who is background, in every crop."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from portraitist import manifest
from portraitist.clean import RefusedError
from portraitist.crop import Square
from portraitist.mask import Segmenter, overlap, person_mask
from portraitist.parallel import ordered
from portraitist.params import CropParams, MaskParams, load_or_exit
from portraitist.pictures import Sheet, decode, encode, over, tile
from portraitist.report import Shown, write_report
from portraitist.shards import Shards, ShardWriter
from portraitist.verdict import Verdict

COLUMNS = ["id", "kind", "verdict", "reason", "from", "truth_iou"]
GREEN = (90, 200, 120)
Row = dict[str, Any]


class Masker:
    """A worker: for each crop its row, its shard's members (none: refused), and its tiles."""

    def __init__(self, params: MaskParams, frame: CropParams, source: Path, pretrained: Path) -> None:
        self.params, self.frame = params, frame
        self.crops, self.segmenter = Shards(source), Segmenter(pretrained, params.model)

    def __call__(self, face: Row) -> tuple[Row, dict[str, bytes], list[Sheet]]:
        """Where a truth is known, the row says how near the mask came to it."""
        square = Square.of(self.crops.members(face["id"]))
        row = face | {"verdict": Verdict.KEPT.value, "from": "segmenter" if square.alpha is None else "alpha"}
        try:
            mask = person_mask(square, self.segmenter, self.params, self.frame)
        except RefusedError as error:
            refused = {"verdict": error.verdict.value, "reason": str(error)}
            return row | refused, {}, [tile(square.picture, error.verdict.value)]
        if self.crops.has(face["id"], "truth.png"):
            row |= {"truth_iou": round(overlap(mask, decode(self.crops.read(face["id"], "truth.png"))), 4)}
        return row, {"png": encode(mask)}, [tile(over(square.picture, mask, GREEN))]


def main(
    params: MaskParams, frame: CropParams, source: Path, pretrained: Path, dest: Path, report: Path, sheet: Path
) -> None:
    """Mask every crop; count what was kept, and why the rest was not."""
    faces = manifest.kept(source / "manifest.csv")[["id", "kind"]].to_dict("records")
    made = ordered(partial(Masker, params, frame, source, pretrained), faces, params.workers)
    rows, shown = [], Shown()
    with ShardWriter(dest, params.shard_size) as shards:
        for row, members, tiles in tqdm(made, "mask", len(faces), disable=None):
            rows.append(row)
            shown.add(tiles, kept=bool(members))
            if members:
                shards.add(row["id"], members)
    shown.write(sheet)
    write_report(manifest.write(rows, dest / "manifest.csv", COLUMNS), "mask", report)


if __name__ == "__main__":
    main(load_or_exit(MaskParams, "mask"), load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
