"""A method's evidence gathered, every metric taken, and what the comparison needs of it kept as files."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from portraitist.augment.render import TEST_BACKGROUNDS
from portraitist.core.image_io import encode_jpeg, encode_png
from portraitist.core.shards import Shards
from portraitist.core.types import Picture
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face
from portraitist.crop.params import CropParams
from portraitist.evaluate import _held
from portraitist.evaluate._groups import groups
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import Evidence, Measure, Network, code, masks_by, metrics, pooled_features, versions
from portraitist.learning.tensors import to_mask_arrays, to_pictures
from portraitist.nets import features as lite0
from portraitist.nets.identity import Identity, IdentityError, find_network
from portraitist.reporting.contact_sheet import contact_sheet
from portraitist.stats.bootstrap import TooFewSamplesError
from portraitist.train.batches import DatasetPaths, LazyImages, load_images, load_masks, split_ids
from portraitist.train.checkpoint import load_checkpoint
from portraitist.weights import INCEPTION, WeightsError, cached_download

COST = "cost.json"  # beside what was painted
SHOWN = 10  # the best and the worst faces by each metric
STRIP_PX, TILE_PX = 128, 72


@dataclass(frozen=True)
class Painted:
    """Where the painted test selfies are: as they are, and on the test backgrounds; and what one of them costs."""

    plain: Shards
    turned: Shards
    cost: dict[str, float]


@dataclass(frozen=True)
class Nets:
    """Where the networks are: the segmenter of stage 2, the folder that stage weights leaves, the user's face network."""

    segmenter: Path
    pretrained: Path
    identity: Path  # a folder, often empty


def networks(params: EvaluateParams, frame: CropParams, nets: Nets) -> dict[str, Network]:
    """The feature networks that the params ask for, by the names that the metrics call them.

    Raises:
        WeightsError: Inception-v3's weights cannot be had.
        IdentityError: The face network is none, or one of several.
    """
    net = lite0.Lite0(nets.pretrained / "efficientnet_lite0.pth")
    resize = f"{params.features_px} px, bicubic, antialiased"
    about = {"network": lite0.NAME, "resize": resize, "version": versions("torch", "timm")}
    found = {"lite0": Network(pooled_features(net.pooled, params.features_px), about)}
    if params.inception:
        from portraitist.nets import inception

        seen = inception.Inception(cached_download(INCEPTION, Path(torch.hub.get_dir()) / "checkpoints"))
        about = {
            "network": inception.NAME,
            "resize": inception.RESIZE,
            "version": versions("torch", "torch_fidelity"),
        }
        found["inception"] = Network(lambda images: seen.pooled(images).numpy(), about)
    if path := find_network(nets.identity):
        face = Identity(path, frame)
        about = {"network": face.name, "resize": "112 px, as ArcFace", "version": versions("onnxruntime")}
        found["identity"] = Network(face.pooled, about)
    return found


def painted_by(paint: Path) -> Painted:
    """What stage paint left of one method."""
    return Painted(Shards(paint), Shards(paint), json.loads((paint / COST).read_text(encoding="utf-8")))


def not_painted(folders: DatasetPaths, turned: Path) -> Painted:
    """The selfies as they are, and on the test backgrounds: what every metric says of having done nothing."""
    return Painted(Shards(folders.crops), Shards(turned), {"gflop": 0.0, "megabytes": 0.0})


def gather(params: EvaluateParams, frame: CropParams, paint: Painted, folders: DatasetPaths, nets: Nets) -> Evidence:
    """The test selfies, what was painted of them, and the portraits; nothing is decoded yet.

    Raises:
        WeightsError, IdentityError: As `networks`.
    """
    torch.set_num_threads(1)  # fixed, for sums depend on it: equal bytes with any number of cores
    threadpool_limits(1)  # NumPy's and SciPy's, which besides spin where another program works
    crops = Shards(folders.crops)
    tested, hung = split_ids(folders, "selfies", "test"), split_ids(folders, "portraits", "test")
    studied = split_ids(folders, "portraits", "train")
    detector = FaceDetector(nets.pretrained)

    def find(picture: Picture) -> Face | None:
        faces = detector.detect(picture, frame.min_score)
        return faces[0] if faces else None

    def read(shards: Shards, ids: list[str], ending: str = "png") -> LazyImages:
        return LazyImages(ids, lambda some: load_images(shards, some, ending))

    return Evidence(
        ids=tested,
        selfies=read(crops, tested),
        masks=load_masks(folders, tested),
        painted=read(paint.plain, tested),
        turned=[read(paint.turned, tested, f"{name}.png") for name in TEST_BACKGROUNDS],
        portraits=read(crops, hung),
        portrait_masks=load_masks(folders, hung),
        studied=read(crops, studied),
        studied_masks=load_masks(folders, studied),
        segmenter=masks_by(load_checkpoint(nets.segmenter)[0].get_submodule("segmenter")),
        find=find,
        frame=frame,
        networks=networks(params, frame, nets),
        cost=paint.cost,
        bootstrap=params.bootstrap,
        seed=params.seed,
    )


def gather_or_exit(
    stage: str, params: EvaluateParams, frame: CropParams, paint: Painted, folders: DatasetPaths, nets: Nets
) -> Evidence:
    """As `gather`, for a stage: a network that cannot be had is one line and exit code 1, not a traceback."""
    try:
        return gather(params, frame, paint, folders, nets)
    except WeightsError as error:
        sys.exit(f"{stage}: {error}; or `evaluate.inception: false` in the profile leaves FID and KID out")
    except IdentityError as error:
        sys.exit(f"{stage}: {error}")


def measured(evidence: Evidence) -> dict[str, Measure]:
    """Every metric that the evidence's networks allow. One that has too few faces is left out, and said so."""
    found = {}
    for name, metric in metrics(evidence.networks).items():
        try:
            found[name] = metric.measure(evidence)
        except TooFewSamplesError as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return found


def keep(found: dict[str, Measure], evidence: Evidence, sheet_rows: int, dest: Path) -> None:
    """Into the folder dest: metrics.json, faces.csv, draws.csv, strips for the sheet, and the best and worst faces."""
    dest.mkdir(parents=True)
    known = metrics(evidence.networks)
    told = {
        metric: _told(measure, known[metric].goal, known[metric].says, evidence) for metric, measure in found.items()
    }
    _json(told, dest / "metrics.json")
    each = {metric: measure.each for metric, measure in found.items() if measure.each is not None}
    draws = {metric: measure.draws for metric, measure in found.items() if measure.draws is not None}
    _csv(pd.DataFrame({"id": evidence.ids} | each), dest / "faces.csv")
    _csv(pd.DataFrame(draws), dest / "draws.csv")
    strips(evidence, sheet_rows, dest)
    for metric, values in each.items():
        _extremes(values, known[metric].goal, evidence, dest / f"{metric}.jpg")


def keep_once(evidence: Evidence, named: pd.DataFrame, dest: Path) -> None:
    """What is one for all methods: the segmenter on pictures it never saw, and the groups of the test selfies.

    `named` holds what is known of pictures, by id; its columns become groups.
    """
    held = _held.measure(evidence)
    says = str(_held.__doc__).partition("\n\n")[0]
    _json({"mask_iou_held": _told(held, _held.GOAL, says, evidence)}, dest / "segmenter.json")
    frame = pd.DataFrame({"id": evidence.ids} | groups(evidence)).merge(named, on="id", how="left")
    _csv(frame, dest / "groups.csv")


def _told(measure: Measure, goal: float, says: str, evidence: Evidence) -> dict[str, Any]:
    about = {"code": code(), "seed": evidence.seed, "bootstrap": evidence.bootstrap}
    told = measure.rounded() | {"goal": goal, "says": says}
    return told | {"about": told["about"] | about}


def _json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _csv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def strips(evidence: Evidence, rows: int, dest: Path) -> None:
    """One column each of the contact sheet, as PNG; what it is called the comparison knows."""
    few = slice(0, rows)
    columns = {
        "input": to_pictures(evidence.selfies[few]),
        "portraits": to_pictures(evidence.portraits[few]),
        "painted": to_pictures(evidence.painted[few]),
        "learned mask": to_mask_arrays(evidence.segmenter(evidence.painted[few])),
    }
    for column, pictures in columns.items():
        (dest / f"{column}.png").write_bytes(
            encode_png(contact_sheet([[picture] for picture in pictures], size_px=STRIP_PX))
        )


def _extremes(values: np.ndarray, goal: float, evidence: Evidence, path: Path) -> None:
    """The faces nearest the goal, then those farthest from it: selfie above avatar, the value above both."""
    order = [int(face) for face in np.argsort(np.abs(values - goal), kind="stable") if np.isfinite(values[face])]
    parts = []
    for best in (order[:SHOWN], order[::-1][:SHOWN]):
        rows = [
            [to_pictures(stack[face : face + 1])[0] for face in best] for stack in (evidence.selfies, evidence.painted)
        ]
        parts.append(contact_sheet(rows, [f"{values[face]:.3g}" for face in best], TILE_PX))
    path.write_bytes(encode_jpeg(np.concatenate(parts)))
