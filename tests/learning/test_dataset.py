import numpy as np
import pytest
from train_helpers import ALL_IDS, grey_of, mask_of, picture_id, write_dataset

from portraitist.core import manifest
from portraitist.core.shards import Shards
from portraitist.learning.dataset import load_images, load_masks, split_ids
from portraitist.learning.tensors import to_pictures


@pytest.fixture
def paths(tmp_path):
    return write_dataset(tmp_path)


def test_split_ids_selects_kind_and_part_sorted(paths):
    assert split_ids(paths, "portraits", "test") == [picture_id("portraits", "test", number) for number in range(2)]
    manifest.write([], paths.split, ["id", "kind", "part"])
    with pytest.raises(ValueError, match=r"split\.csv: no portraits in part 'test'"):
        split_ids(paths, "portraits", "test")


def test_images_are_loaded_in_the_order_of_the_ids(paths):
    ids = [ALL_IDS[3], ALL_IDS[0], ALL_IDS[9]]
    greys = [int(picture[0, 0, 0]) for picture in to_pictures(load_images(Shards(paths.crops), ids))]
    assert greys == [grey_of(picture) for picture in ids]


def test_exact_masks_are_used_only_if_all_have_one(paths):
    with_truth, without = picture_id("selfies", "test", 0), picture_id("selfies", "test", 1)
    assert np.array_equal(load_masks(paths, [with_truth])[:][0, 0].numpy() * 255, 255 - mask_of(with_truth))
    both = load_masks(paths, [with_truth, without])[:][:, 0].numpy() * 255
    assert np.array_equal(both, [mask_of(with_truth), mask_of(without)])
