"""Stage augment: choose the backgrounds for training, and place the test selfies on eight test backgrounds."""

from functools import partial
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit, path_options
from portraitist.augment.composites import SHEET_ROWS, recipe_tiles, write_test_composites
from portraitist.augment.library import LIBRARY_FOLDER, BackgroundLibrary
from portraitist.augment.make_library import StageFolders, write_library
from portraitist.augment.params import AugmentParams
from portraitist.augment.recipes import make_recipes
from portraitist.core import manifest
from portraitist.core.files import write_file
from portraitist.core.image_io import encode_jpeg
from portraitist.core.shards import Shards
from portraitist.crop.params import CropParams
from portraitist.mask.params import MaskParams
from portraitist.mask.segmenter import Segmenter, segment_person
from portraitist.reporting.contact_sheet import contact_sheet


def main(
    params: AugmentParams, segmenter: Segmenter, crop_params: CropParams, folders: StageFolders, dest: Path, sheet: Path
) -> None:
    """Write the test selfies on the test backgrounds, the library of backgrounds, the recipes and a contact sheet.

    A recipe is a row of recipes.csv that names a training face, a kind of background and a seed.
    """
    crops, masks = Shards(folders.crops), Shards(folders.masks)
    segment = partial(segment_person, segmenter=segmenter, crop_params=crop_params)
    test_faces = tqdm(manifest.split_ids(folders.split, "selfies", "test"), "augment", disable=None)
    rows = write_test_composites(test_faces, crops, masks, params, segment, dest)
    size = write_library(params, folders, crop_params.size_px, dest / LIBRARY_FOLDER)
    people = sorted(face for kind in manifest.KINDS for face in manifest.split_ids(folders.split, kind, "train"))
    recipes = manifest.write(make_recipes(people, params, size), dest / "recipes.csv", ["id", "background", "seed"])
    library = BackgroundLibrary(dest / LIBRARY_FOLDER)
    for face in people[:SHEET_ROWS]:
        own = recipes.loc[recipes["id"] == face, ["background", "seed"]].itertuples(index=False, name=None)
        rows.append(recipe_tiles(face, own, crops, masks, params.light_wrap, library))
    write_file(sheet, encode_jpeg(contact_sheet(rows)) if rows else b"")


if __name__ == "__main__":
    names = ("clean", "crops", "masks", "split", "pretrained", "augmented", "sheet")
    *folders, pretrained, augmented, sheet = path_options(*names)
    params, crop_params = load_or_exit(AugmentParams, "augment"), load_or_exit(CropParams, "crop")
    segmenter = Segmenter(pretrained, load_or_exit(MaskParams, "mask").model)
    main(params, segmenter, crop_params, StageFolders(*folders), augmented, sheet)
