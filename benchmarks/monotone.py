"""Does each distance grow with damage? Blur, noise, a colour shift and bleed, added in steps to portraits.

    python -m benchmarks.monotone -o docs/monotone.png

One half of the portraits is damaged, the other is what it is held against: at step 0 both are of one kind. A metric is
drawn as a share of its largest value; a line that turns back is a metric that cannot tell more damage from less.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from portraitist.core.params import load
from portraitist.core.shards import Shards
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import Evidence, metrics
from portraitist.learning.tensors import Images, Masks
from portraitist.train.batches import DatasetPaths, load_images, load_masks, split_ids

NETS = run.Nets(Path("models/mask.pt"), Path("models/pretrained"), Path("data/local/identity"))
STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
MEASURED = ("frechet_lite0", "kernel_lite0", "foreground_frechet_lite0", "foreground_kernel_lite0", "content_lite0",
            "background_bleed", "background_repainted", "sharpness")  # fmt: skip
SHIFT = (-0.5, 0.3, 0.4)  # of red, green and blue, of images in [-1, 1]
WIDTH, HEIGHT, GAP = 190, 120, 34  # of one panel, px


def blurred(images: Images, masks: Masks, step: float) -> Images:
    """Gaussian blur, up to a sigma of a 27th of the side."""
    if not step:
        return images
    sigma = step * images.shape[-1] / 27
    smooth = [cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (0, 0), sigma) for image in images]
    return torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)


def noisy(images: Images, masks: Masks, step: float) -> Images:
    """Normal noise, up to a deviation of .4."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.4 * step * noise).clamp(-1, 1)


def shifted(images: Images, masks: Masks, step: float) -> Images:
    """All colours moved one way, less red and more of the rest."""
    return (images + step * torch.tensor(SHIFT)[:, None, None]).clamp(-1, 1)


def bled(images: Images, masks: Masks, step: float) -> Images:
    """The person drawn toward the mean colour of its own background."""
    outside = (masks < 0.01).float()
    colour = (images * outside).sum((2, 3)) / outside.sum((2, 3)).clamp(min=1)
    return images + 0.7 * step * masks * (colour[:, :, None, None] - images)


DAMAGES: dict[str, Callable[[Images, Masks, float], Images]] = {
    "blur": blurred, "noise": noisy, "colour shift": shifted, "bleed": bled,
}  # fmt: skip


def evidence_of(images: Images, masks: Masks, base: Evidence, damaged: Images) -> Evidence:
    """One half as if it had been painted, the other as portraits."""
    half = len(images) // 2
    return Evidence(
        ids=[str(face) for face in range(half)], selfies=images[:half], masks=masks[:half], painted=damaged[:half],
        turned=[damaged[:half]] * len(base.turned), portraits=images[half:], portrait_masks=masks[half:],
        studied=images[half:], studied_masks=masks[half:], segmenter=base.segmenter, find=base.find, frame=base.frame,
        networks=base.networks, cost=base.cost, bootstrap=2, seed=base.seed,
    )  # fmt: skip


def curves(images: Images, masks: Masks, base: Evidence) -> dict[str, dict[str, list[float]]]:
    """{damage: {metric: value at each step}}."""
    known = metrics(base.networks)
    found: dict[str, dict[str, list[float]]] = {}
    for damage, changed in DAMAGES.items():
        found[damage] = {name: [] for name in MEASURED}
        for step in STEPS:
            evidence = evidence_of(images, masks, base, changed(images, masks, step))
            for name in MEASURED:
                found[damage][name].append(known[name].measure(evidence).value)
    return found


def drawn(found: dict[str, dict[str, list[float]]]) -> Image.Image:
    """A panel for each metric and damage."""
    canvas = Image.new("RGB", (len(found) * (WIDTH + GAP) + GAP, len(MEASURED) * (HEIGHT + GAP) + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for column, (damage, of) in enumerate(found.items()):
        for row, name in enumerate(MEASURED):
            left, top = GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + GAP)
            pen.rectangle((left, top, left + WIDTH, top + HEIGHT), outline="#ccc")
            pen.text((left, top - 14), f"{name}, {damage}", fill="black")
            low, high = min(*of[name], 0), max(*of[name], 1e-12)
            at = [
                (left + WIDTH * step, top + HEIGHT - HEIGHT * (value - low) / (high - low))
                for step, value in zip(STEPS, of[name], strict=True)
            ]
            pen.line(at, fill="#2a7de1", width=2)
            for x, y in at:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#2a7de1")
            pen.text((left + 4, top + 2), f"{high:.3g}", fill="#888")
            pen.text((left + 4, top + HEIGHT - 13), f"{low:.3g}", fill="#888")
    return canvas


def main() -> None:
    """The plot, and a line for each damage and metric with its values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    told = parser.parse_args()
    folders = DatasetPaths(*map(Path, ("data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv")))
    params, frame = load(EvaluateParams, "evaluate"), load(CropParams, "crop")
    done = run.not_painted(folders, Path("data/augment"))
    base = run.gather(params, frame, done, folders, NETS)
    ids = sorted(face for part in ("train", "validation", "test") for face in split_ids(folders, "portraits", part))
    images, masks = load_images(Shards(folders.crops), ids), load_masks(folders, ids)[:]
    found = curves(images, masks, base)
    drawn(found).save(told.out)
    for damage, of in found.items():
        for name, values in of.items():
            steps = np.diff(values)
            way = "grows" if (steps > 0).all() else "falls" if (steps < 0).all() else "turns"
            print(f"{damage:13s} {name:26s} {way:6s} " + " ".join(f"{value:.3g}" for value in values))


if __name__ == "__main__":
    main()
