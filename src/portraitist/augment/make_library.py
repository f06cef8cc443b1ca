"""Create the library of backgrounds, from which trainings take backgrounds of kind `room`.

It contains the user's own pictures, then collected pictures in which no face was found, then selfies from which the
person was removed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from portraitist.augment.backgrounds import remove_person, square_background
from portraitist.augment.params import AugmentParams
from portraitist.clean.decode import RejectedError, decode_picture
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards, ShardWriter
from portraitist.core.types import Picture


class BackgroundError(ValueError):
    """The folder `augment.backgrounds_folder` is missing, or contains a file that is not a usable picture."""


class StageFolders(NamedTuple):
    """Outputs of earlier stages: folders of shards, and the CSV of the split."""

    clean: Path
    crops: Path
    masks: Path
    split: Path


def write_library(params: AugmentParams, folders: StageFolders, size_px: int, dest: Path) -> int:
    """Write at most `library_size` different backgrounds as shards, and return how many were written.

    Args:
        params: section `augment` of params.yaml.
        folders: outputs of earlier stages.
        size_px: side of the backgrounds.
        dest: folder of the shards to write.

    Raises:
        BackgroundError: `backgrounds_folder` is missing, or a file in it is not a usable picture.
    """
    written: set[str] = set()
    with ShardWriter(dest, params.shard_size) as shards:
        for name, picture in _available_backgrounds(params.backgrounds_folder, folders, size_px):
            if len(written) == params.library_size:
                break
            if name not in written:
                shards.add(name, {"png": encode_png(picture)})
                written.add(name)
    return len(written)


def _available_backgrounds(own: Path, folders: StageFolders, size_px: int) -> Iterator[tuple[str, Picture]]:
    """Yield id and square picture of each available background, in the order that the module's docstring describes."""
    if not own.is_dir():
        raise BackgroundError(
            f"augment.backgrounds_folder: {own} is not a folder; create it, or change the parameter; the folder may be "
            "empty, or contain your own pictures of backgrounds"
        )
    for path in sorted(path for path in own.iterdir() if not path.name.startswith(".")):
        if not path.is_file():
            raise BackgroundError(
                f"augment.backgrounds_folder: {path} is not a file; put the pictures directly in {own}"
            )
        data = path.read_bytes()
        try:
            yield manifest.picture_id(data), square_background(decode_picture(data).picture, size_px)
        except RejectedError as error:
            raise BackgroundError(
                f"augment.backgrounds_folder: {path} cannot be used: {error}; remove the file"
            ) from error
    clean, crops, masks = Shards(folders.clean), Shards(folders.crops), Shards(folders.masks)
    faces = manifest.read(folders.crops / "manifest.csv")
    without_face = (faces["kind"] == "selfies") & (faces["status"] == Status.NO_FACE.value)
    for picture in sorted(faces.loc[without_face, "picture"]):
        yield picture, square_background(decode_png(clean.read(picture, "png")), size_px)
    for face in manifest.split_ids(folders.split, "selfies", "train"):
        yield face, remove_person(decode_png(crops.read(face, "png")), decode_png(masks.read(face, "png")))
