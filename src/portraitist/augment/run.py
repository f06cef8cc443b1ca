"""Create the test composites, the library of backgrounds and the recipes, which are the outputs of stage `augment`."""

from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from portraitist.augment.composites import SHEET_ROWS, recipe_tiles, write_test_composites
from portraitist.augment.library import LIBRARY_FOLDER, BackgroundLibrary
from portraitist.augment.make_library import StageFolders, write_library
from portraitist.augment.params import AugmentParams
from portraitist.augment.recipes import make_recipes
from portraitist.core import manifest
from portraitist.core.shards import Shards
from portraitist.core.types import ContactSheet, MaskArray
from portraitist.crop.align import CropImage


def augment(
    params: AugmentParams, size_px: int, segment: Callable[[CropImage], MaskArray], folders: StageFolders, dest: Path
) -> list[list[ContactSheet]]:
    """Write the test selfies on the test backgrounds, the library of backgrounds, and the recipes.

    A recipe is a row of recipes.csv that names a training face, a kind of background and a seed.

    Args:
        params: section `augment` of params.yaml.
        size_px: side of the backgrounds in the library.
        segment: function that returns the mask of a test selfie on a test background.
        folders: outputs of earlier stages.
        dest: folder to create; it must not exist.

    Returns:
        The rows of the contact sheet: some test selfies, then some training faces.

    Raises:
        BackgroundError: `augment.backgrounds_folder` is missing, or a file in it is not a usable picture.
    """
    crops, masks = Shards(folders.crops), Shards(folders.masks)
    test_faces = tqdm(manifest.split_ids(folders.split, "selfies", "test"), "augment", disable=None)
    rows = write_test_composites(test_faces, crops, masks, params, segment, dest)
    size = write_library(params, folders, size_px, dest / LIBRARY_FOLDER)
    people = sorted(face for kind in manifest.KINDS for face in manifest.split_ids(folders.split, kind, "train"))
    recipes = manifest.write(make_recipes(people, params, size), dest / "recipes.csv", ["id", "background", "seed"])
    library = BackgroundLibrary(dest / LIBRARY_FOLDER)
    for face in people[:SHEET_ROWS]:
        own = recipes.loc[recipes["id"] == face, ["background", "seed"]].itertuples(index=False, name=None)
        rows.append(recipe_tiles(face, own, crops, masks, params.light_wrap, library))
    return rows
