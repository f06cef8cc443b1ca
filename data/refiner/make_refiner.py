"""Make person_refiner.onnx from the sample pack: pictures with exact masks, drawn anew thousands of times.

    python data/refiner/make_refiner.py draw PICTURES.npy
    python data/refiner/make_refiner.py train PICTURES.npy data/refiner/person_refiner.onnx

Run it in the repository's root. Each picture is one of the pack's people, recoloured, often dressed in drawn helmets,
hoods and cloaks that the segmenter does not know, before a drawn background or other people. The network sees the
picture and what the segmenter says of it, and learns the exact mask. Only people on the training side of the split are
learned from; those on the other sides measure.
"""

from __future__ import annotations

import argparse
import io
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.augment.render import draw_background, composite_person
from portraitist.clean.decode import decode_picture
from portraitist.crop.geometry import Face, eye_mouth_similarity
from portraitist.crop.detector import FaceDetector
from portraitist.core.manifest import picture_id
from portraitist.mask.segmenter import REFINED_SIDE, Segmenter, folded
from portraitist.split.params import SplitParams
from portraitist.core.params import load
from portraitist.core.image_io import decode_png
from portraitist.core.blend import alpha_composite
from portraitist.split.assign import part_of

Array = npt.NDArray[Any]
Rng = np.random.Generator
Person = tuple[Array, Array, Face]  # picture, mask, face

SAMPLE, PRETRAINED = Path("data/sample"), Path("models/pretrained")
SIDE = REFINED_SIDE
EYE_LINE = 0.44
MIDDLE = SIDE / 2
DRAWN, HELD = 4000, 200  # pictures; the first of them are of people who are not learned from
WIDTH, EPOCHS, BATCH, RATE = 12, 3, 8, 0.003
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]


def people() -> tuple[list[Person], list[Person]]:
    """The pack's people: those on the training side of the split, and the others."""
    detector, split = FaceDetector(PRETRAINED), load(SplitParams, "split")
    sides: tuple[list[Person], list[Person]] = ([], [])
    for kind in ("selfies", "portraits"):
        for path in sorted((SAMPLE / kind).iterdir()):
            data = path.read_bytes()
            picture = decode_picture(data).picture
            faces = detector.detect(picture)
            if faces:
                mask = decode_png((SAMPLE / "masks" / kind / f"{path.stem}.png").read_bytes())
                sides[part_of(picture_id(data), split) != "train"].append((picture, mask, faces[0]))
    return sides


def framed(person: Person, rng: Rng) -> tuple[Array, Array]:
    """The person nearer or farther, turned and shifted by a little, as crops of strangers' pictures are."""
    picture, mask, face = person
    there = eye_mouth_similarity(face, SIDE, EYE_LINE, rng.uniform(0.18, 0.36)).astype(np.float64)
    angle = np.radians(rng.normal(0, 4))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    there = np.concatenate(
        [turn @ there[:, :2], (turn @ (there[:, 2] - MIDDLE) + MIDDLE + rng.normal(0, 6, 2))[:, None]], 1
    )
    return tuple(  # type: ignore[return-value]
        cv2.warpAffine(plane, there, (SIDE, SIDE), flags=how, borderMode=cv2.BORDER_REPLICATE)
        for plane, how in ((picture, cv2.INTER_CUBIC), (mask, cv2.INTER_LINEAR))
    )


def clouds(rng: Rng, count: int) -> Array:
    """Smooth noise in [-1, 1] of so many blots a side."""
    return cv2.resize(
        rng.uniform(-1, 1, (count, count)).astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC
    )


def cloth(rng: Rng) -> Array:
    """A texture between two colours: blots, stripes, grain, or a shine."""
    one, two = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:  # metal and plain stuff: shades of one colour
        one = np.clip(rng.uniform(20, 230) + rng.normal(0, 18, 3), 0, 255)
        two = np.clip(one * rng.uniform(0.2, 1.6) + rng.normal(0, 10, 3), 0, 255)
    kind = rng.integers(4)
    if kind == 0:
        drawn = clouds(rng, int(rng.integers(2, 6)))
    elif kind == 1:
        drawn = np.sin(ROWS * rng.uniform(0, 0.4) + COLUMNS * rng.uniform(0, 0.4)) + 0.7 * clouds(rng, 6)
    elif kind == 2:
        drawn = clouds(rng, 3) + 0.5 * clouds(rng, 40)
    else:
        shine = np.hypot(ROWS - rng.uniform(0, SIDE), COLUMNS - rng.uniform(0, SIDE)) / rng.uniform(60, 200)
        drawn = 1 - shine + 0.3 * clouds(rng, 12)
    texture = one + (two - one) * ((drawn + 1) / 2).clip(0, 1)[..., None]
    return texture + rng.normal(0, rng.uniform(2, 14), (SIDE, SIDE, 1)) if rng.random() < 0.5 else texture


def grown(mask: Array, rng: Rng, least: float, most: float) -> Array:
    """Where the mask reaches when it grows unevenly, by so many pixels."""
    away = cv2.distanceTransform((mask < 128).astype(np.uint8), cv2.DIST_L2, 3)
    return away < least + (most - least) * (clouds(rng, int(rng.integers(3, 8))) + 1) / 2


def filled(shape: str, rng: Rng) -> Array:
    """A drawn piece: horns and plumes, shoulder pieces, staffs and blades."""
    piece = np.zeros((SIDE, SIDE), np.uint8)
    if shape == "horn":
        x, y = MIDDLE + rng.normal(0, 40), rng.uniform(10, 70)
        tips = [(x + rng.normal(0, 50), y - rng.uniform(10, 60)), (x + rng.normal(0, 25), y + rng.uniform(5, 30))]
        cv2.fillPoly(piece, [np.array([(x, y), *tips]).astype(np.int32)], 1)
    elif shape == "shoulders":
        for way in (-1, 1):
            if rng.random() < 0.75:
                centre = (int(MIDDLE + way * rng.uniform(60, 125)), int(SIDE * rng.uniform(0.8, 1.02)))
                axes = (int(rng.uniform(18, 60)), int(rng.uniform(14, 44)))
                cv2.ellipse(piece, centre, axes, rng.uniform(-40, 40), 0, 360, 1, -1)
    else:
        foot = int(rng.uniform(0, SIDE))
        top = (int(foot + rng.normal(0, 70)), int(rng.uniform(-20, 120)))
        cv2.line(piece, (foot, SIDE), top, 1, int(rng.integers(2, 11)))
    return piece > 0


def dressed(picture: Array, mask: Array, rng: Rng) -> tuple[Array, Array]:
    """The person with up to three pieces of dress or armour, which are part of the person."""
    seen, share = picture.astype(np.float32), mask.astype(np.float32) / 255

    def put(region: Array, front: bool = True) -> None:
        nonlocal seen, share
        soft = cv2.GaussianBlur(region.astype(np.float32), (0, 0), rng.uniform(0.5, 1.0)) * (1 if front else 1 - share)
        texture = cloth(rng).astype(np.float32)
        deep = cv2.distanceTransform(region.astype(np.uint8), cv2.DIST_L2, 3)
        if rng.random() < 0.7:  # rounded
            texture = texture * (0.55 + 0.45 * np.clip(deep / rng.uniform(3, 20), 0, 1))[..., None]
        if rng.random() < 0.5:  # inked
            texture[(deep < rng.uniform(1, 2.5)) & region] *= rng.uniform(0.05, 0.5)
        seen = seen * (1 - soft[..., None]) + texture * soft[..., None]
        share = share + soft * (1 - share) if front else share + soft

    for piece in rng.choice(["hat", "hood", "body", "shoulders", "staff", "coif"], rng.integers(0, 4)):
        if piece == "hat":
            brim = SIDE * EYE_LINE - rng.uniform(4, 26) + (COLUMNS - MIDDLE) * rng.normal(0, 0.1)
            put(grown(mask, rng, 2, 22) & (brim > ROWS) & (np.abs(COLUMNS - MIDDLE) < 0.36 * SIDE) & (ROWS < MIDDLE))
            if rng.random() < 0.4:
                put(filled("horn", rng))
        elif piece == "hood":
            put(grown(mask, rng, 0, rng.uniform(8, 34)), front=False)
        elif piece == "body":
            collar = SIDE * rng.uniform(0.72, 0.86) + np.abs(COLUMNS - MIDDLE) * rng.normal(0, 0.25)
            put(grown(mask, rng, 0, 14) & (collar < ROWS))
        elif piece == "shoulders":
            put(filled("shoulders", rng))
        elif piece == "staff":
            put(filled("staff", rng), front=rng.random() < 0.4)
        else:
            face = ((COLUMNS - MIDDLE) / (0.2 * SIDE)) ** 2 + ((ROWS - 0.53 * SIDE) / (0.26 * SIDE)) ** 2 < 1
            put(grown(mask, rng, -1, 14) & ~face & (ROWS > 0.1 * SIDE))
    return seen.clip(0, 255).astype(np.uint8), (share.clip(0, 1) * 255).round().astype(np.uint8)


def recoloured(picture: Array, rng: Rng) -> Array:
    """Another hue, light and contrast; sometimes grey, smoothed, in few tones, or inked."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.int32)
    if rng.random() < 0.35:
        hsv[..., 0] = (hsv[..., 0] + int(rng.normal(0, 30))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.3, 1.5), 0, 255)
    seen = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    if rng.random() < 0.12:
        seen = np.repeat(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    values = 255 * (seen / 255.0) ** np.exp(rng.normal(0, 0.35))
    values = (values - 128) * rng.uniform(0.7, 1.35) + 128 + rng.normal(0, 14) + rng.normal(0, 6, 3)
    seen = values.clip(0, 255).astype(np.uint8)
    kind = rng.random()
    if kind < 0.3:
        seen = cv2.bilateralFilter(seen, 7, rng.uniform(20, 80), 5)
    elif kind < 0.4:
        step = int(rng.integers(12, 44))
        seen = (seen // step * step).astype(np.uint8)
    if rng.random() < 0.4:
        lines = cv2.dilate(cv2.Canny(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), 60, 160), np.ones((2, 2), np.uint8))
        ink = (cv2.GaussianBlur(lines, (0, 0), 0.7) * rng.uniform(0.3, 0.9)).astype(np.uint8)
        seen = alpha_composite(np.full_like(seen, int(rng.uniform(0, 50))), ink, seen)
    return seen


def scene(rng: Rng, others: list[Person]) -> Array:
    """A background: plain, shapes, a texture, somebody's picture blurred, or a neighbour at the side."""
    kind = rng.integers(8)
    if kind < 3:
        return draw_background(("solid", "gradient", "noise", "checks")[rng.integers(4)], int(rng.integers(2**31)), SIDE)
    if kind == 3:
        drawn = cloth(rng)
        for _ in range(rng.integers(2, 14)):
            (left, top), (width, height) = rng.uniform(-40, SIDE, 2).astype(int), rng.uniform(8, 150, 2).astype(int)
            colour, at = rng.uniform(0, 255, 3).tolist(), (int(left), int(top))
            if rng.random() < 0.6:
                cv2.rectangle(drawn, at, (int(left + width), int(top + height)), colour, -1)
            else:
                axes = (int(width) // 2 + 1, int(height) // 2 + 1)
                cv2.ellipse(drawn, at, axes, rng.uniform(0, 180), 0, 360, colour, -1)
        return cv2.GaussianBlur(drawn.clip(0, 255).astype(np.uint8), (0, 0), rng.uniform(0.6, 6))
    if kind == 4:
        return cloth(rng).clip(0, 255).astype(np.uint8)
    picture = recoloured(others[rng.integers(len(others))][0], rng)
    if kind == 5:
        seen = cv2.resize(picture, (SIDE, SIDE))[:, :: rng.choice([-1, 1])]
        return cv2.GaussianBlur(np.ascontiguousarray(seen), (0, 0), rng.uniform(1.5, 14))
    scale = rng.uniform(0.4, 1.1)
    x = MIDDLE + rng.choice([-1, 1]) * rng.uniform(0.34, 0.6) * SIDE - scale * picture.shape[1] / 2
    y = rng.uniform(0.4, 0.9) * SIDE - scale * picture.shape[0] / 2
    there = np.array([[scale, 0, x], [0, scale, y]])
    seen = cv2.warpAffine(picture, there, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return cv2.GaussianBlur(seen, (0, 0), rng.uniform(0.3, 5))


def drawn(number: int, group: list[Person]) -> tuple[Array, Array]:
    """A picture and its mask, a function of the number and the group."""
    rng = np.random.default_rng([7, number])
    picture, mask = framed(group[rng.integers(len(group))], rng)
    picture = recoloured(picture, rng)
    if rng.random() < 0.88:
        if rng.random() < 0.65:
            picture, mask = dressed(picture, mask, rng)
        picture = composite_person(picture, mask, scene(rng, group), float(rng.choice([0, 0.3, 0.5])))
    if rng.random() < 0.5:
        picture = (picture + rng.normal(0, rng.uniform(0, 9), picture.shape)).clip(0, 255).astype(np.uint8)
    if rng.random() < 0.3:  # a small picture, enlarged
        side = int(rng.uniform(70, 200))
        small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.5:
        picture, mask = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
    return picture, mask


def draw(dest: Path) -> None:
    """All pictures, what the segmenter says of each, and their masks: DRAWN x SIDE x SIDE x 5 bytes."""
    (learned, held), segmenter = people(), Segmenter(PRETRAINED, "selfie")
    print(f"{len(learned)} people to learn from, {len(held)} to measure on")
    table = np.lib.format.open_memmap(dest, "w+", np.uint8, (DRAWN, SIDE, SIDE, 5))
    for number in range(DRAWN):
        picture, mask = drawn(number, held if number < HELD else learned)
        table[number] = np.dstack([picture, segmenter(picture), mask])


def _double(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [nn.Conv2d(width, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


class Refiner(nn.Module):
    """A U-Net on 2 x 2 pixels at a time: 16 channels in (red, green, blue, segmenter), 4 logits out."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width, 2 * width, 3 * width, 4 * width, 4 * width]
        self.first = _double(16, width)
        self.down = nn.ModuleList(_double(inside, outside) for inside, outside in pairwise(widths))
        self.up = nn.ModuleList(
            _double(inside + outside, outside) for inside, outside in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(width, 4, 1)

    def forward(self, seen: Tensor) -> Tensor:
        """The logits of the four pixels."""
        features = [self.first(seen)]
        for step in self.down:
            features.append(step(F.max_pool2d(features[-1], 2)))
        current = features.pop()
        for step in self.up:
            current = step(torch.cat([F.interpolate(current, scale_factor=2.0, mode="nearest"), features.pop()], 1))
        return self.last(current)


def logits(net: Refiner, table: Array) -> Tensor:
    """The network's answer to pictures with the segmenter's, one channel, full size."""
    seen = torch.from_numpy(np.concatenate([folded(row[..., :3], row[..., 3]) for row in table]))
    return F.pixel_shuffle(net(seen.contiguous(memory_format=torch.channels_last)), 2)[:, 0]


def overlaps(found: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each pair."""
    return (found & truth).sum((1, 2)) / (found | truth).sum((1, 2)).clamp(min=1)


@torch.no_grad()
def measured(net: Refiner, table: Array) -> str:
    """Mean and median overlap of the network and of the segmenter alone, on people it never saw."""
    net.eval()
    truth = torch.from_numpy(table[..., 4]) > 127
    refined = torch.cat(
        [overlaps(logits(net, table[at : at + 20]) > 0, truth[at : at + 20]) for at in range(0, HELD, 20)]
    )
    bare = overlaps(torch.from_numpy(table[..., 3]) > 127, truth)
    net.train()
    return f"refined {refined.mean():.4f} / {refined.median():.4f}, bare {bare.mean():.4f} / {bare.median():.4f}"


def train(source: Path, dest: Path) -> None:
    """The network that comes nearest to the masks, as ONNX; its numbers as they come."""
    torch.manual_seed(1)
    torch.set_num_threads(1)  # sums depend on it
    table, rng = np.load(source, mmap_mode="r"), np.random.default_rng(1)
    net, steps = Refiner(WIDTH).to(memory_format=torch.channels_last), EPOCHS * ((DRAWN - HELD) // BATCH)  # type: ignore[call-overload]
    adam = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=0.001)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=steps, pct_start=0.1)
    for epoch in range(EPOCHS):
        began, losses = time.time(), []
        for rows in np.array_split(rng.permutation(np.arange(HELD, DRAWN)), (DRAWN - HELD) // BATCH):
            batch = np.stack([table[row] for row in rows])
            if rng.random() < 0.3:
                batch[..., :3] = batch[..., rng.permutation(3)]
            found, truth = logits(net, batch), torch.from_numpy(batch[..., 4]).float() / 255
            chance = found.sigmoid()
            shared, total = (chance * truth).sum((1, 2)), (chance + truth).sum((1, 2))
            loss = (
                F.binary_cross_entropy_with_logits(found, truth)
                + 0.5 * (1 - (shared + 1) / (total - shared + 1)).mean()
            )
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()
            losses.append(loss.item())
        print(
            f"epoch {epoch}: loss {np.mean(losses):.4f}, {measured(net, table[:HELD])}, {time.time() - began:.0f} s",
            flush=True,
        )
        save(net, dest)


def save(net: Refiner, dest: Path) -> None:
    """The network as plain ONNX, of operators that OpenCV's dnn knows."""
    net.eval()
    seen, buffer = torch.zeros(1, 16, SIDE // 2, SIDE // 2), io.BytesIO()
    torch.onnx.export(
        net, (seen,), buffer, input_names=["seen"], output_names=["logits"], opset_version=18, dynamo=False
    )
    model = onnx.load_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.doc_string = ""
    dest.write_bytes(model.SerializeToString(deterministic=True))
    net.train()


if __name__ == "__main__":
    cv2.setNumThreads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["draw", "train"])
    parser.add_argument("paths", type=Path, nargs="+")
    told = parser.parse_args()
    {"draw": draw, "train": train}[told.what](*told.paths)
