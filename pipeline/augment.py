"""Stage augment: recipes of persons on backgrounds; the test selfies on eight backgrounds, masked anew on each."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from portraitist import manifest
from portraitist.augment import ROOMS, TEST_BACKGROUNDS, Rooms, compose, emptied, recipes, render, room
from portraitist.clean import RefusedError, read
from portraitist.crop import Square
from portraitist.mask import Segmenter, segment
from portraitist.params import AugmentParams, CropParams, MaskParams, load_or_exit
from portraitist.pictures import Picture, Sheet, decode, encode, jpeg, sheet, tile
from portraitist.shards import Shards, ShardWriter
from portraitist.verdict import Verdict

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
            yield manifest.picture_id(data), room(read(data).picture, size_px)
        except RefusedError as error:
            sys.exit(f"augment: {path}: {error}")
    clean, crops, masks = Shards(made.clean), Shards(made.crops), Shards(made.masks)
    faces = manifest.read(made.crops / "manifest.csv")
    faceless = (faces["kind"] == "selfies") & (faces["verdict"] == Verdict.NO_FACE.value)
    for picture in sorted(faces.loc[faceless, "picture"]):
        yield picture, room(decode(clean.read(picture, "png")), size_px)
    for face in manifest.people(made.split, "selfies", "train"):
        yield face, emptied(decode(crops.read(face, "png")), decode(masks.read(face, "png")))


def furnish(params: AugmentParams, made: Made, size_px: int, dest: Path) -> int:
    """Write the library's first rooms; how many there are."""
    written: set[str] = set()
    with ShardWriter(dest, params.shard_size) as shards:
        for name, picture in library(params, made, size_px):
            if len(written) == params.rooms:
                break
            if name not in written:
                shards.add(name, {"png": encode(picture)})
                written.add(name)
    return len(written)


def main(
    params: AugmentParams, masking: MaskParams, frame: CropParams, made: Made, pretrained: Path, dest: Path, shown: Path
) -> None:
    """Draw the recipes; compose what the metric `sensitivity` needs, with masks made as a user's selfie gets them."""
    pictures, given, segmenter = Shards(made.crops), Shards(made.masks), Segmenter(pretrained, masking.model)
    rows: list[list[Sheet]] = []
    with ShardWriter(dest, params.shard_size) as shards:
        for picture in tqdm(manifest.people(made.split, "selfies", "test"), "augment", disable=None):
            square, mask = Square.of(pictures.members(picture)), decode(given.read(picture, "png"))
            members: dict[str, bytes] = {}
            row = []
            for name, colour in TEST_BACKGROUNDS.items():
                put = compose(square.picture, mask, colour, params.light_wrap)
                found = segment(Square(put, None, square.inside), segmenter, frame)
                members |= {f"{name}.png": encode(put), f"{name}.mask.png": encode(found)}
                row.append(tile(put, name))
            shards.add(picture, members)
            rows = [*rows, row][:SHOWN]
    rooms, room_of = furnish(params, made, frame.size_px, dest / ROOMS), Rooms(dest / ROOMS)
    trained = sorted(
        manifest.people(made.split, "selfies", "train") + manifest.people(made.split, "portraits", "train")
    )
    drawn = manifest.write(recipes(trained, params, rooms), dest / "recipes.csv", ["id", "background", "seed"])
    for face in trained[:SHOWN]:
        seen = decode(pictures.read(face, "png")), decode(given.read(face, "png"))
        of_face = drawn.loc[drawn["id"] == face, ["background", "seed"]].itertuples(index=False, name=None)
        row = [tile(render(*seen, kind, seed, params.light_wrap, room_of), kind) for kind, seed in of_face]
        rows.append(row[: len(TEST_BACKGROUNDS)])
    shown.write_bytes(jpeg(sheet(rows)) if rows else b"")


if __name__ == "__main__":
    sections = ((AugmentParams, "augment"), (MaskParams, "mask"), (CropParams, "crop"))
    *made, weights, to, looks = map(Path, sys.argv[1:])
    main(*(load_or_exit(*section) for section in sections), Made(*made), weights, to, looks)  # type: ignore[call-arg]
