"""Stage evaluate: data/paint/<method> -> metrics/models/<method>. Every metric, and strips for the sheet."""

import json
import sys
from pathlib import Path

from portraitist.augment import TEST_BACKGROUNDS
from portraitist.checkpoint import open_learner
from portraitist.dataset import Folders, best_masks, ids_of, images_of
from portraitist.evaluate import Evidence, masks_by, metrics, pooled_features
from portraitist.images import to_pictures, to_planes
from portraitist.nets.features import NAME, Lite0
from portraitist.params import CropParams, EvaluateParams, load_or_exit
from portraitist.pictures import encode, sheet
from portraitist.shards import Shards


def main(
    params: EvaluateParams, frame: CropParams, paint: Path, folders: Folders, masker: Path, features: Path, dest: Path
) -> None:
    """Measure what one method painted; keep a column of the contact sheet."""
    painted, crops = Shards(paint), Shards(folders.crops)
    tested, hung = ids_of(folders, "selfies", "test"), ids_of(folders, "portraits", "test")
    see = masks_by(open_learner(masker)[0].get_submodule("masker"))
    evidence = Evidence(
        selfies=images_of(crops, tested),
        masks=best_masks(folders, tested),
        painted=images_of(painted, tested),
        turned=[images_of(painted, tested, f"{name}.png") for name in TEST_BACKGROUNDS],
        portraits=images_of(crops, hung),
        portrait_masks=best_masks(folders, hung),
        masker=see,
        frame=frame,
        features=pooled_features(Lite0(features).pooled, params.features_px),
        features_name=f"{NAME}, {params.features_px} px",
        bootstrap=params.bootstrap,
        seed=params.seed,
    )
    dest.mkdir(parents=True)
    found = {name: measure(evidence).rounded() for name, measure in metrics().items()}
    (dest / "metrics.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    few = slice(params.sheet_rows)
    columns = {
        "input": to_pictures(evidence.selfies[few]),
        "portraits": to_pictures(evidence.portraits[few]),
        "painted": to_pictures(evidence.painted[few]),
        "learned mask": to_planes(see(evidence.painted[few])),
    }
    for name, pictures in columns.items():
        label = paint.name if name == "painted" else name
        (dest / f"{name}.png").write_bytes(encode(sheet([[picture] for picture in pictures], [label], 128)))


if __name__ == "__main__":
    paint, *paths = map(Path, sys.argv[1:])
    main(
        load_or_exit(EvaluateParams, "evaluate"),
        load_or_exit(CropParams, "crop"),
        paint,
        Folders(*paths[:4]),
        *paths[4:],
    )
