"""Stage crop: data/clean -> data/crop. One square face for each picture that shows one."""

import sys
from pathlib import Path

import cv2
from tqdm import tqdm

from portraitist import manifest
from portraitist.clean import Cleaned, RefusedError
from portraitist.crop import FaceDetector, crop_face, warped
from portraitist.manifest import Verdict
from portraitist.params import CropParams, load_or_exit
from portraitist.pictures import decode, encode, in_rows, jpeg, sheet
from portraitist.report import write_report
from portraitist.shards import Shards, ShardWriter

COLUMNS = ["id", "kind", "verdict", "reason", "score", "transform"]


def main(params: CropParams, source: Path, pretrained: Path, dest: Path, report: Path, shown: Path) -> None:
    """Crop every clean picture; count what was kept, and why the rest was not."""
    clean, detector, rows, faces = Shards(source), FaceDetector(pretrained), [], []
    with ShardWriter(dest, params.shard_size) as shards:
        for row in tqdm(manifest.kept(source / "manifest.csv").to_dict("records"), "crop", disable=None):
            verdict = {"id": row["id"], "kind": row["kind"], "verdict": Verdict.KEPT.value}
            rows.append(verdict)
            try:
                crop = crop_face(Cleaned.of(clean.members(row["id"])), detector, params)
            except RefusedError as error:
                verdict |= {"verdict": error.verdict.value, "reason": str(error)}
                continue
            transform = " ".join(f"{value:.5f}" for value in crop.transform.ravel())
            verdict |= {"score": round(crop.face.score, 4), "transform": transform}
            members = crop.square.members()
            if clean.has(row["id"], "truth.png"):
                truth = decode(clean.read(row["id"], "truth.png"))
                members["truth.png"] = encode(warped(truth, crop.transform, params.size_px, cv2.BORDER_CONSTANT))
            shards.add(row["id"], members)
            faces.append(crop.square.picture)
    shown.write_bytes(jpeg(sheet(in_rows(faces[:96], 12))) if faces else b"")
    write_report(manifest.write(rows, dest / "manifest.csv", COLUMNS), "crop", report)


if __name__ == "__main__":
    main(load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
