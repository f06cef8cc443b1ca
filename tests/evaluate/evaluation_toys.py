"""Evaluation data and images with known answers."""

import numpy as np
from toys import CROP_PARAMS, boxes, noise

from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.crop.geometry import Face
from portraitist.evaluate.data import EvaluationData, Network
from portraitist.evaluate.registry import available_metrics
from portraitist.learning.tensors import to_images

SIDE = 32
PERSONS = boxes((5, 30, 4, 24), (3, 32, 9, 29), (6, 28, 7, 27), height=SIDE, width=SIDE)
PORTRAIT_PERSONS = boxes((4, 31, 8, 30), (7, 29, 2, 23), height=SIDE, width=SIDE)
TRAINING_PERSONS = boxes((3, 30, 5, 28), (8, 31, 6, 20), (2, 27, 9, 31), (5, 25, 3, 22), height=SIDE, width=SIDE)
NETWORKS = ("lite0", "lite2", "inception", "identity")


def mean_colours(images):
    """Features that are easy to compute by hand: the mean red, green and blue of each image."""
    return images.mean((2, 3)).numpy()


def network(features=mean_colours):
    return Network(features, {"network": "mean colours", "resize": "none", "version": "test"})


def face_at_brightest_pixel(picture):
    """Return a face around the brightest pixel; None if the picture has a single colour."""
    grey = picture.astype(int).sum(axis=-1)
    if grey.min() == grey.max():
        return None
    y, x = np.unravel_index(grey.argmax(), grey.shape)
    landmarks = np.array([[-2, -1], [2, -1], [0, 1], [0, 3], [-4, 0], [4, 0]], np.float32)
    return Face(0.9, (x - 5.0, y - 4.0, x + 5.0, y + 6.0), landmarks + np.array([x, y], np.float32))


def evaluation_data(**changes):
    """Return noise images: three selfies, two test portraits, four training pictures of each kind."""
    fields = {
        "ids": ["a", "b", "c"],
        "selfies": noise(3, 3, SIDE, SIDE, seed=1),
        "masks": PERSONS,
        "stylized": noise(3, 3, SIDE, SIDE, seed=2),
        "portraits": noise(2, 3, SIDE, SIDE, seed=3),
        "portrait_masks": PORTRAIT_PERSONS,
        "training_selfies": noise(4, 3, SIDE, SIDE, seed=5),
        "training_selfie_masks": TRAINING_PERSONS,
        "training_portraits": noise(4, 3, SIDE, SIDE, seed=4),
        "training_portrait_masks": TRAINING_PERSONS,
        "segmenter": lambda images: (images[:, :1] > 0).float(),
        "find_face": face_at_brightest_pixel,
        "crop_params": CROP_PARAMS,
        "networks": dict.fromkeys(NETWORKS, network()),
        "cost": {"gflop": 1.5, "megabytes": 2.25},
        "bootstrap": 20,
        "seed": 1,
    } | changes
    count = len(fields["stylized"])
    on_backgrounds = [noise(count, 3, SIDE, SIDE, seed=20 + index) for index in range(len(TEST_BACKGROUNDS))]
    return EvaluationData(**{"on_backgrounds": on_backgrounds} | fields)


def measure(name, **changes):
    return available_metrics(NETWORKS)[name].measure(evaluation_data(**changes))


def value(name, **changes):
    return measure(name, **changes).value


def uniform(*levels, masks=None, background=0):
    """Return images of one grey level each; with masks, the background has another level."""
    pictures = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels]
    if masks is not None:
        for picture, mask in zip(pictures, masks[:, 0].numpy(), strict=True):
            picture[mask == 0] = background
    return to_images(pictures)


def lightness(level):
    """Return L of CIELAB of an sRGB grey level, by the formula of the standard."""
    share = level / 255
    linear = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    return 116 * linear ** (1 / 3) - 16
