import pytest
import torch
from evaluation_toys import SIDE, evaluation_data, measure

from portraitist.evaluate.painted import HELD_OUT
from portraitist.stats.bootstrap import TooFewSamplesError


def levels(*values):
    """Return images of these grey levels in [-1, 1], with a little noise."""
    generator = torch.Generator().manual_seed(len(values))
    noise = torch.randn(len(values), 3, SIDE, SIDE, generator=generator) * 0.01
    return torch.tensor(values).view(-1, 1, 1, 1) + noise


WHOLE = torch.ones(4, 1, SIDE, SIDE)
DARK_SELFIES = {  # the portraits are bright
    "training_selfies": levels(-0.6, -0.5, -0.4, -0.5),
    "training_selfie_masks": WHOLE,
    "training_portraits": levels(0.5, 0.6, 0.4, 0.5),
    "training_portrait_masks": WHOLE,
    "portraits": levels(0.5, 0.4, 0.6, -0.5),
    "portrait_masks": WHOLE,
    "masks": WHOLE[:3],
}


def test_painted_rate_is_the_share_of_bright_avatars():
    measurement = measure("painted_rate", **DARK_SELFIES, stylized=levels(-0.5, 0.5, 0.4))
    assert measurement.per_face.tolist() == [0, 1, 1]
    assert measurement.value == pytest.approx(2 / 3)
    assert measurement.details["interval"] == "Wilson"
    assert (measurement.details["n_training_selfies"], measurement.details["n_training_portraits"]) == (4, 4)


def test_unchanged_selfies_are_not_painted():
    measurement = measure("painted_rate", **DARK_SELFIES, stylized=levels(-0.5, -0.4, -0.6))
    assert measurement.value == 0
    assert measurement.low == pytest.approx(0)
    assert measurement.high == pytest.approx(1.959964**2 / (3 + 1.959964**2))


def test_held_out_portraits_are_rated_by_the_same_classifier():
    measurement = HELD_OUT.measure(evaluation_data(**DARK_SELFIES))
    assert (measurement.value, measurement.n) == (0.75, 4)
    assert measurement.low < 0.75 < measurement.high


def test_background_does_not_affect_the_painted_rate():
    masks = WHOLE[:3].clone()
    masks[..., : SIDE // 2] = 0
    stylized = levels(0.5, 0.5, 0.5)
    stylized[..., : SIDE // 2] = -1
    cropped = {"masks": masks, "stylized": stylized}
    assert measure("painted_rate", **DARK_SELFIES | cropped).value == 1


def test_single_training_portrait_is_too_few():
    few = {"training_portraits": levels(0.5), "training_portrait_masks": WHOLE[:1]}
    with pytest.raises(TooFewSamplesError, match=r"train part of the split: .*4 selfies and 1 portraits"):
        measure("painted_rate", **DARK_SELFIES | few)
