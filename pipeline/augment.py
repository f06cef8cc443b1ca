"""Stage augment: recipes of people on backgrounds, and the test selfies on eight backgrounds with new masks."""

import sys
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit, path_options
from portraitist.augment.composites import composite_on_test_backgrounds, recipe_tiles
from portraitist.augment.library import (
    LIBRARY_FOLDER,
    BackgroundError,
    BackgroundLibrary,
    StageFolders,
    write_library,
)
from portraitist.augment.params import AugmentParams
from portraitist.augment.recipes import make_recipes
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_jpeg
from portraitist.core.shards import Shards, ShardWriter
from portraitist.crop.align import CropImage
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, segment_person
from portraitist.reporting.contact_sheet import contact_sheet

SHEET_ROWS, SHEET_COLUMNS = 12, 8  # rows of each part


def main(
    params: AugmentParams, segmenter: Segmenter, crop_params: CropParams, folders: StageFolders, dest: Path, sheet: Path
) -> None:
    """Write the test composites, the library of backgrounds, the recipes and a contact sheet."""
    crops, masks = Shards(folders.crops), Shards(folders.masks)
    segment = partial(segment_person, segmenter=segmenter, crop_params=crop_params)
    rows = []
    with ShardWriter(dest, params.shard_size) as shards:
        for face in tqdm(manifest.split_ids(folders.split, "selfies", "test"), "augment", disable=None):
            square, mask = CropImage.from_members(crops.members(face)), decode_png(masks.read(face, "png"))
            members, tiles = composite_on_test_backgrounds(square, mask, params.light_wrap, segment)
            shards.add(face, members)
            rows = [*rows, tiles][:SHEET_ROWS]
    library = dest / LIBRARY_FOLDER
    size = write_library(params, folders, crop_params.size_px, library)
    kinds = ("selfies", "portraits")
    people = sorted(face for kind in kinds for face in manifest.split_ids(folders.split, kind, "train"))
    recipes = manifest.write(make_recipes(people, params, size), dest / "recipes.csv", ["id", "background", "seed"])
    for face in people[:SHEET_ROWS]:
        own = recipes.loc[recipes["id"] == face, ["background", "seed"]].itertuples(index=False, name=None)
        tiles = recipe_tiles(face, own, crops, masks, params.light_wrap, BackgroundLibrary(library))
        rows.append(tiles[:SHEET_COLUMNS])
    sheet.write_bytes(encode_jpeg(contact_sheet(rows)) if rows else b"")


if __name__ == "__main__":
    names = ("clean", "crops", "masks", "split", "pretrained", "augmented", "sheet")
    *folders, pretrained, augmented, sheet = path_options(*names)
    params, crop_params = load_or_exit(AugmentParams, "augment"), load_or_exit(CropParams, "crop")
    segmenter = Segmenter(pretrained, load_or_exit(MaskParams, "mask").model)
    try:
        main(params, segmenter, crop_params, StageFolders(*folders), augmented, sheet)
    except BackgroundError as error:
        sys.exit(f"augment: {error}")
