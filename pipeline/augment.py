"""Stage augment: recipes of persons on backgrounds; the test selfies on eight backgrounds, masked anew on each."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit
from portraitist.augment.params import AugmentParams
from portraitist.augment.render import (
    LIBRARY_FOLDER,
    TEST_BACKGROUNDS,
    BackgroundLibrary,
    composite_person,
    make_recipes,
    remove_person,
    render_recipe,
    square_background,
)
from portraitist.clean.decode import RejectedError, decode_picture
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_jpeg, encode_png
from portraitist.core.outcome import Status
from portraitist.core.shards import Shards, ShardWriter
from portraitist.core.types import ContactSheet, Picture
from portraitist.crop.align import CropImage
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, segment_person
from portraitist.reporting.contact_sheet import contact_sheet, labelled_tile

SHOWN = 12


@dataclass(frozen=True)
class Made:
    """What the stages before have made."""

    clean: Path
    crops: Path
    masks: Path
    split: Path


def library(params: AugmentParams, made: Made, size_px: int) -> Iterator[tuple[str, Picture]]:
    """Backgrounds by their pictures' names: the user's, then those without a face, then the trained-on's, emptied."""
    if not params.folder.is_dir():
        sys.exit(f"augment: {params.folder} is no folder; give one that holds backgrounds, or none")
    for path in sorted(path for path in params.folder.iterdir() if not path.name.startswith(".")):
        data = path.read_bytes()
        try:
            yield manifest.picture_id(data), square_background(decode_picture(data).picture, size_px)
        except RejectedError as error:
            sys.exit(f"augment: {path}: {error}")
    clean, crops, masks = Shards(made.clean), Shards(made.crops), Shards(made.masks)
    faces = manifest.read(made.crops / "manifest.csv")
    faceless = (faces["kind"] == "selfies") & (faces["status"] == Status.NO_FACE.value)
    for picture in sorted(faces.loc[faceless, "picture"]):
        yield picture, square_background(decode_png(clean.read(picture, "png")), size_px)
    for face in manifest.split_ids(made.split, "selfies", "train"):
        yield face, remove_person(decode_png(crops.read(face, "png")), decode_png(masks.read(face, "png")))


def furnish(params: AugmentParams, made: Made, size_px: int, dest: Path) -> int:
    """Write the library's first rooms; how many there are."""
    written: set[str] = set()
    with ShardWriter(dest, params.shard_size) as shards:
        for name, picture in library(params, made, size_px):
            if len(written) == params.rooms:
                break
            if name not in written:
                shards.add(name, {"png": encode_png(picture)})
                written.add(name)
    return len(written)


def main(
    params: AugmentParams, masking: MaskParams, frame: CropParams, made: Made, pretrained: Path, dest: Path, shown: Path
) -> None:
    """Draw the recipes; compose what the metric `sensitivity` needs, with masks made as a user's selfie gets them."""
    pictures, given, segmenter = Shards(made.crops), Shards(made.masks), Segmenter(pretrained, masking.model)
    rows: list[list[ContactSheet]] = []
    with ShardWriter(dest, params.shard_size) as shards:
        for picture in tqdm(manifest.split_ids(made.split, "selfies", "test"), "augment", disable=None):
            square, mask = CropImage.from_members(pictures.members(picture)), decode_png(given.read(picture, "png"))
            members: dict[str, bytes] = {}
            row = []
            for name, colour in TEST_BACKGROUNDS.items():
                put = composite_person(square.picture, mask, colour, params.light_wrap)
                found = segment_person(CropImage(put, None, square.inside), segmenter, frame)
                members |= {f"{name}.png": encode_png(put), f"{name}.mask.png": encode_png(found)}
                row.append(labelled_tile(put, name))
            shards.add(picture, members)
            rows = [*rows, row][:SHOWN]
    rooms, room_of = (
        furnish(params, made, frame.size_px, dest / LIBRARY_FOLDER),
        BackgroundLibrary(dest / LIBRARY_FOLDER),
    )
    trained = sorted(
        manifest.split_ids(made.split, "selfies", "train") + manifest.split_ids(made.split, "portraits", "train")
    )
    drawn = manifest.write(make_recipes(trained, params, rooms), dest / "recipes.csv", ["id", "background", "seed"])
    for face in trained[:SHOWN]:
        seen = decode_png(pictures.read(face, "png")), decode_png(given.read(face, "png"))
        of_face = drawn.loc[drawn["id"] == face, ["background", "seed"]].itertuples(index=False, name=None)
        row = [
            labelled_tile(render_recipe(*seen, kind, seed, params.light_wrap, room_of), kind) for kind, seed in of_face
        ]
        rows.append(row[: len(TEST_BACKGROUNDS)])
    shown.write_bytes(encode_jpeg(contact_sheet(rows)) if rows else b"")


if __name__ == "__main__":
    sections = ((AugmentParams, "augment"), (MaskParams, "mask"), (CropParams, "crop"))
    *made, weights, to, looks = map(Path, sys.argv[1:])
    main(*(load_or_exit(*section) for section in sections), Made(*made), weights, to, looks)  # type: ignore[call-arg]
