from pathlib import Path

import pytest
from train_helpers import write_dataset

from portraitist.learning.dataset import DatasetPaths


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    """The paths of a small dataset."""
    return write_dataset(tmp_path)
