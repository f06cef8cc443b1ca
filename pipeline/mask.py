"""Stage mask: data/crop -> data/mask. Who is person and who is background, in every crop."""

import sys
from pathlib import Path

from tqdm import tqdm

from portraitist import manifest
from portraitist.clean import RefusedError
from portraitist.crop import Square
from portraitist.manifest import Verdict
from portraitist.mask import Segmenter, overlap, person_mask
from portraitist.params import CropParams, MaskParams, load_or_exit
from portraitist.pictures import decode, encode, in_rows, jpeg, over, sheet
from portraitist.report import write_report
from portraitist.shards import Shards, ShardWriter

COLUMNS = ["id", "kind", "verdict", "reason", "from", "truth_iou"]
GREEN = (90, 200, 120)


def main(
    params: MaskParams, frame: CropParams, source: Path, pretrained: Path, dest: Path, report: Path, shown: Path
) -> None:
    """Mask every crop; where a truth is known, say how near the mask came to it."""
    crops, segmenter, rows, cut_out = Shards(source), Segmenter(pretrained), [], []
    with ShardWriter(dest, params.shard_size) as shards:
        for row in tqdm(manifest.kept(source / "manifest.csv").to_dict("records"), "mask", disable=None):
            square = Square.of(crops.members(row["id"]))
            origin = "segmenter" if square.alpha is None else "alpha"
            verdict = {"id": row["id"], "kind": row["kind"], "verdict": Verdict.KEPT.value, "from": origin}
            rows.append(verdict)
            try:
                mask = person_mask(square, segmenter, params, frame)
            except RefusedError as error:
                verdict |= {"verdict": error.verdict.value, "reason": str(error)}
                continue
            if crops.has(row["id"], "truth.png"):
                verdict |= {"truth_iou": round(overlap(mask, decode(crops.read(row["id"], "truth.png"))), 4)}
            shards.add(row["id"], {"png": encode(mask)})
            cut_out.append(over(square.picture, mask, GREEN))
    shown.write_bytes(jpeg(sheet(in_rows(cut_out[:96], 12))) if cut_out else b"")
    write_report(manifest.write(rows, dest / "manifest.csv", COLUMNS), "mask", report)


if __name__ == "__main__":
    main(load_or_exit(MaskParams, "mask"), load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
