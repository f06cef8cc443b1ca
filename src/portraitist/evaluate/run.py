"""Load the stylized test selfies of one method, compute all metrics, and write the files that stage `compare` reads."""

import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.core import manifest
from portraitist.core.files import atomic_write, write_file, write_json
from portraitist.core.image_io import encode_jpeg, encode_png
from portraitist.core.shards import Shards
from portraitist.core.types import Picture
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face
from portraitist.crop.params import CropParams
from portraitist.evaluate import masks, painted
from portraitist.evaluate.data import EvaluationData, Network, predict_masks
from portraitist.evaluate.groups import group_selfies
from portraitist.evaluate.identity import Identity, find_network
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import Measurement, Metric, available_metrics, code_hash, library_versions
from portraitist.learning import features as lite0
from portraitist.learning import realism
from portraitist.learning.checkpoint import load_checkpoint
from portraitist.learning.dataset import DatasetPaths, LazyImages, load_images, load_masks, split_ids
from portraitist.learning.realism import Features
from portraitist.learning.tensors import to_mask_arrays, to_pictures
from portraitist.reporting.contact_sheet import contact_sheet
from portraitist.stats.bootstrap import TooFewSamplesError
from portraitist.weights import INCEPTION, WeightsError, cached_download

COST_FILE = "cost.json"  # written by stage `paint` to the folder of the stylized images
FEATURES_FILE = "features.npz"  # written by stage `evaluate_selfies`: features of images that are equal for all methods
HELD_OUT = (masks.HELD_OUT, painted.HELD_OUT)
EXTREMES = 10  # number of best faces, and of worst faces, that the report shows for each metric
STRIP_PX, TILE_PX = 128, 72  # height and width of a face on the sheet of all methods, and of a best or worst face


@dataclass(frozen=True)
class StylizedSelfies:
    """The stylized test selfies of one method.

    Attributes:
        plain: the stylized selfies.
        on_backgrounds: the same selfies, placed on each of eight test backgrounds and then stylized.
        cost: cost of one avatar, with keys "gflop" and "megabytes".
        known_features: features of selfies and portraits that stage `evaluate_selfies` computed. The keys are those of
            `EvaluationData.cache`.
    """

    plain: Shards
    on_backgrounds: Shards
    cost: dict[str, float]
    known_features: dict[Any, Features]


@dataclass(frozen=True)
class ModelPaths:
    """Paths of the networks that evaluation needs."""

    segmenter: Path  # model file of stage `train_mask`
    pretrained: Path  # folder of pretrained models, written by stage `weights`
    identity: Path  # folder that may contain a face recognition network of the user


def load_networks(params: EvaluateParams, models: ModelPaths) -> dict[str, Network]:
    """Load the feature networks, and return them by name.

    "lite0" and "lite2" are always loaded. "inception" is loaded if `evaluate.inception` is true, and "identity" if the
    folder `models.identity` contains a network.

    Raises:
        WeightsError: Inception-v3's weights are not on this machine and cannot be downloaded.
        IdentityError: `models.identity` contains several networks, or one with unexpected inputs or outputs.
    """
    net = lite0.Lite0(models.pretrained / "efficientnet_lite0.pth")
    resize = f"{params.features_px} px, bicubic, antialiased"
    details = {"network": lite0.NAME, "resize": resize, "version": library_versions("torch", "timm")}
    networks = {"lite0": Network(realism.pooled_features(net.pooled, params.features_px), details)}
    details = details | {"network": realism.NAME, "resize": f"{realism.SIZE_PX} px, bicubic, antialiased"}
    networks["lite2"] = Network(realism.lite2_features(models.pretrained), details)
    if params.inception:
        from portraitist.evaluate import inception

        inception_net = inception.Inception(cached_download(INCEPTION, Path(torch.hub.get_dir()) / "checkpoints"))
        details = {
            "network": inception.NAME,
            "resize": inception.RESIZE,
            "version": library_versions("torch", "torch_fidelity"),
        }
        networks["inception"] = Network(lambda images: inception_net.pooled(images).numpy(), details)
    if path := find_network(models.identity):
        identity = Identity(path)
        details = {"network": identity.name, "resize": "112 px, as ArcFace", "version": library_versions("onnxruntime")}
        networks["identity"] = Network(identity.pooled, details)
    return networks


def stylized_by_method(folder: Path, selfie_results: Path) -> StylizedSelfies:
    """Open the stylized selfies of one method.

    Args:
        folder: output of stage `paint` for this method.
        selfie_results: output of stage `evaluate_selfies`. It contains the features of selfies and portraits, which are
            the same for all methods.
    """
    shards = Shards(folder)
    with np.load(selfie_results / FEATURES_FILE) as arrays:
        known_features = {tuple(name.split("/")): arrays[name].astype(np.float64) for name in arrays}
    cost = json.loads((folder / COST_FILE).read_text(encoding="utf-8"))
    return StylizedSelfies(shards, shards, cost, known_features)


def unchanged_selfies(paths: DatasetPaths, on_backgrounds: Path) -> StylizedSelfies:
    """Return the test selfies as if a method had left them unchanged: the baseline of all metrics.

    Args:
        paths: the dataset.
        on_backgrounds: output of stage `augment`, with the selfies on the test backgrounds.
    """
    return StylizedSelfies(Shards(paths.crops), Shards(on_backgrounds), {"gflop": 0.0, "megabytes": 0.0}, {})


def load_data(
    params: EvaluateParams, crop_params: CropParams, selfies: StylizedSelfies, paths: DatasetPaths, models: ModelPaths
) -> EvaluationData:
    """Collect the inputs of all metrics. Images are loaded when a metric reads them.

    This function also limits PyTorch, NumPy and SciPy to one thread. Otherwise, the number of threads would change the
    order of summation, and so the last digits of results.

    Raises:
        WeightsError: Inception-v3's weights are not on this machine and cannot be downloaded.
        IdentityError: the user's face recognition network is unusable.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)
    crops = Shards(paths.crops)
    test_selfies, test_portraits = split_ids(paths, "selfies", "test"), split_ids(paths, "portraits", "test")
    training_selfies, training_portraits = split_ids(paths, "selfies", "train"), split_ids(paths, "portraits", "train")
    detector = FaceDetector(models.pretrained)

    def find_face(picture: Picture) -> Face | None:
        faces = detector.detect(picture, crop_params.min_score)
        return faces[0] if faces else None

    def read(shards: Shards, ids: list[str], member: str = "png") -> LazyImages:
        return LazyImages(ids, lambda batch: load_images(shards, batch, member))

    return EvaluationData(
        ids=test_selfies,
        selfies=read(crops, test_selfies),
        masks=load_masks(paths, test_selfies),
        stylized=read(selfies.plain, test_selfies),
        on_backgrounds=[read(selfies.on_backgrounds, test_selfies, f"{name}.png") for name in TEST_BACKGROUNDS],
        portraits=read(crops, test_portraits),
        portrait_masks=load_masks(paths, test_portraits),
        training_selfies=read(crops, training_selfies),
        training_selfie_masks=load_masks(paths, training_selfies),
        training_portraits=read(crops, training_portraits),
        training_portrait_masks=load_masks(paths, training_portraits),
        segmenter=predict_masks(load_checkpoint(models.segmenter)[0].get_submodule("segmenter")),
        find_face=find_face,
        crop_params=crop_params,
        networks=load_networks(params, models),
        cost=selfies.cost,
        bootstrap=params.bootstrap,
        seed=params.seed,
        cache=dict(selfies.known_features),
    )


def load_data_or_exit(
    stage: str,
    params: EvaluateParams,
    crop_params: CropParams,
    selfies: StylizedSelfies,
    paths: DatasetPaths,
    models: ModelPaths,
) -> EvaluationData:
    """Return the result of `load_data`.

    If Inception-v3's weights are unavailable, print a line that starts with `stage`, and exit with code 1.
    """
    try:
        return load_data(params, crop_params, selfies, paths, models)
    except WeightsError as error:
        sys.exit(f"{stage}: {error}; or set `evaluate.inception: false` in the profile to skip FID and KID")


def measure_all(data: EvaluationData) -> dict[str, Measurement]:
    """Compute all metrics whose feature networks are loaded, and return the measurements by metric name.

    A metric for which there are too few faces is skipped, with a warning on stderr.
    """
    return _measure(available_metrics(data.networks).values(), data)


def _measure(metrics: Iterable[Metric], data: EvaluationData) -> dict[str, Measurement]:
    measurements = {}
    for metric in metrics:
        try:
            measurements[metric.name] = metric.measure(data)
        except TooFewSamplesError as error:
            print(f"{metric.name} is skipped: {error}", file=sys.stderr)
    return measurements


def save_results(measurements: dict[str, Measurement], data: EvaluationData, sheet_rows: int, folder: Path) -> None:
    """Write the results of one method to a new folder.

    The files are:

    - faces.csv: the value of each metric for each face;
    - draws.csv: the value of each metric for each bootstrap resample;
    - selfies.png, portraits.png, stylized.png, learned_mask.png: columns of the sheet that compares all methods;
    - <metric>.jpg: the faces with the best and with the worst values of a metric;
    - metrics.json: values, intervals and details. It is written last, so a folder that contains it is complete.

    Args:
        measurements: result of `measure_all`.
        data: the data from which they were computed.
        sheet_rows: number of faces on the sheet.
        folder: folder to create.
    """
    folder.mkdir(parents=True)
    metrics = available_metrics(data.networks)
    per_face = {name: result.per_face for name, result in measurements.items() if result.per_face is not None}
    draws = {name: result.draws for name, result in measurements.items() if result.draws is not None}
    _write_csv(pd.DataFrame({"id": data.ids} | per_face), folder / "faces.csv")
    _write_csv(pd.DataFrame(draws), folder / "draws.csv")
    save_sheet_columns(data, sheet_rows, folder)
    for name, values in per_face.items():
        _save_extremes(values, metrics[name].optimum, data, folder / f"{name}.jpg")
    results = {name: _to_json(measurement, metrics[name], data) for name, measurement in measurements.items()}
    write_json(folder / "metrics.json", results)


def save_shared_results(data: EvaluationData, sources: pd.DataFrame, folder: Path) -> None:
    """Write the results that are the same for all methods.

    The files are held_out.json (quality of the segmenter and of the portrait classifier on test pictures), groups.csv
    (skin tone, light and pose of each face, and the columns of `sources`), and features.npz (features of all images
    that no method changes).

    Args:
        data: data of the unchanged selfies.
        sources: table with a row for each face: column "id", and one or more columns that are added to groups.csv, such
            as "source".
        folder: the folder that `save_results` created.
    """
    measurements = _measure(HELD_OUT, data)
    metrics = {metric.name: metric for metric in HELD_OUT}
    results = {name: _to_json(measurement, metrics[name], data) for name, measurement in measurements.items()}
    write_json(folder / "held_out.json", results)
    features = {"/".join(key): value for key, value in data.cache.items() if isinstance(key, tuple)}
    shared = {name: value.astype(np.float32) for name, value in features.items() if "/stylized/" not in name}
    with atomic_write(folder / FEATURES_FILE) as partial:
        np.savez(partial, **shared)
    groups = pd.DataFrame({"id": data.ids} | group_selfies(data)).merge(sources, on="id", how="left")
    _write_csv(groups, folder / "groups.csv")


def face_sources(crops: Path, clean: Path) -> pd.DataFrame:
    """Return a table with columns "id" and "source": where the picture of each face came from.

    Args:
        crops: output of stage `crop`.
        clean: output of stage `clean`.
    """
    pictures = manifest.kept_rows(clean / "manifest.csv").rename(columns={"id": "picture"})
    faces = manifest.kept_rows(crops / "manifest.csv")[["id", "picture"]].merge(pictures, on="picture")
    return faces[["id", "source"]]


def _to_json(measurement: Measurement, metric: Metric, data: EvaluationData) -> dict[str, Any]:
    run_details = {"code": code_hash(), "seed": data.seed, "bootstrap": data.bootstrap}
    content = measurement.to_json()
    content |= {"optimum": metric.optimum, "unit": metric.unit, "description": metric.description}
    return content | {"details": content["details"] | run_details}


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    write_file(path, frame.to_csv(index=False, lineterminator="\n", float_format="%.6g"))


def save_sheet_columns(data: EvaluationData, rows: int, folder: Path) -> None:
    """Write four columns of pictures for the contact sheet of all methods. Each column is a PNG file.

    selfies.png shows the first `rows` test selfies. portraits.png shows the first `rows` test portraits. stylized.png
    shows the avatars of the selfies in selfies.png. learned_mask.png shows the masks that the segmenter predicts for
    these avatars. Stage `compare` makes the contact sheet.

    Args:
        data: the stylized selfies of one method, and the other inputs of all metrics.
        rows: number of pictures in each column.
        folder: existing folder to write to.
    """
    part = slice(0, rows)
    columns = {
        "selfies": to_pictures(data.selfies[part]),
        "portraits": to_pictures(data.portraits[part]),
        "stylized": to_pictures(data.stylized[part]),
        "learned_mask": to_mask_arrays(data.segmenter(data.stylized[part])),
    }
    for name, pictures in columns.items():
        column = contact_sheet([[picture] for picture in pictures], size_px=STRIP_PX)
        write_file(folder / f"{name}.png", encode_png(column))


def _save_extremes(values: np.ndarray, optimum: float, data: EvaluationData, path: Path) -> None:
    """Write a JPEG of the ten faces nearest to the optimum, and below them the ten farthest from it.

    Each face is shown as a selfie above its avatar, labelled with its value.
    """
    ranking = np.argsort(np.abs(values - optimum), kind="stable")
    order = [int(face) for face in ranking if np.isfinite(values[face])]
    sheets = []
    for faces in (order[:EXTREMES], order[::-1][:EXTREMES]):
        rows = [[to_pictures(images[face : face + 1])[0] for face in faces] for images in (data.selfies, data.stylized)]
        sheets.append(contact_sheet(rows, [f"{values[face]:.3g}" for face in faces], TILE_PX))
    write_file(path, encode_jpeg(np.concatenate(sheets)))
