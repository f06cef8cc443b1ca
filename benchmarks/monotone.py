"""Check that the metrics change in one direction if pictures are damaged more and more.

    python -m benchmarks.monotone -o docs/monotone.png

The damage is blur, noise, a shift of all colours, or background colour on the skin. One half of the portraits is
damaged and compared with the other half. At step 0, nothing is damaged, so the distance is that of two samples from the
same distribution. The plot shows each metric as a share of its largest value.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.paths import DATASET, MODELS
from portraitist.core.params import load
from portraitist.core.shards import Shards
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.data import EvaluationData
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import available_metrics
from portraitist.learning.dataset import load_images, load_masks, split_ids
from portraitist.learning.tensors import Images, Masks

STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
METRICS = ("frechet_lite0", "kernel_lite0", "foreground_frechet_lite0", "foreground_kernel_lite0", "content_lite0",
           "background_bleed", "background_repainted", "sharpness")  # fmt: skip
COLOUR_SHIFT = (-0.5, 0.3, 0.4)  # of red, green and blue, in [-1, 1]
WIDTH, HEIGHT, GAP = 190, 120, 34  # of one panel, px

Damage = Callable[[Images, Masks, float], Images]
Curves = dict[str, dict[str, list[float]]]  # by damage, then metric: the value at each step


def blur(images: Images, masks: Masks, step: float) -> Images:
    """Blur by a Gaussian with a sigma of up to 1/27 of the side."""
    if not step:
        return images
    sigma = step * images.shape[-1] / 27
    smooth = [cv2.GaussianBlur(image.permute(1, 2, 0).numpy(), (0, 0), sigma) for image in images]
    return torch.from_numpy(np.stack(smooth)).permute(0, 3, 1, 2)


def add_noise(images: Images, masks: Masks, step: float) -> Images:
    """Add normal noise with a standard deviation of up to 0.4."""
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    return (images + 0.4 * step * noise).clamp(-1, 1)


def shift_colour(images: Images, masks: Masks, step: float) -> Images:
    """Shift all colours by up to COLOUR_SHIFT."""
    return (images + step * torch.tensor(COLOUR_SHIFT)[:, None, None]).clamp(-1, 1)


def bleed(images: Images, masks: Masks, step: float) -> Images:
    """Move the person's colours toward the mean colour of the background."""
    outside = (masks < 0.01).float()
    colour = (images * outside).sum((2, 3)) / outside.sum((2, 3)).clamp(min=1)
    return images + 0.7 * step * masks * (colour[:, :, None, None] - images)


DAMAGES: dict[str, Damage] = {"blur": blur, "noise": add_noise, "colour shift": shift_colour, "bleed": bleed}


def compare_halves(images: Images, masks: Masks, base: EvaluationData, damaged: Images) -> EvaluationData:
    """Return data with the first half of `damaged` as stylized images and the second half of `images` as portraits."""
    half = len(images) // 2
    return EvaluationData(
        ids=[str(face) for face in range(half)],
        selfies=images[:half],
        masks=masks[:half],
        stylized=damaged[:half],
        on_backgrounds=[damaged[:half]] * len(base.on_backgrounds),
        portraits=images[half:],
        portrait_masks=masks[half:],
        training_selfies=images[:half],
        training_selfie_masks=masks[:half],
        training_portraits=images[half:],
        training_portrait_masks=masks[half:],
        segmenter=base.segmenter,
        find_face=base.find_face,
        crop_params=base.crop_params,
        networks=base.networks,
        cost=base.cost,
        bootstrap=2,
        seed=base.seed,
    )


def measure_curves(images: Images, masks: Masks, base: EvaluationData) -> Curves:
    """Measure METRICS at each step of each damage."""
    metrics = available_metrics(base.networks)
    curves: Curves = {}
    for name, damage in DAMAGES.items():
        curves[name] = {metric: [] for metric in METRICS}
        for step in STEPS:
            data = compare_halves(images, masks, base, damage(images, masks, step))
            for metric in METRICS:
                curves[name][metric].append(metrics[metric].measure(data).value)
    return curves


def plot(curves: Curves) -> Image.Image:
    """Draw a panel for each metric and damage."""
    canvas = Image.new("RGB", (len(curves) * (WIDTH + GAP) + GAP, len(METRICS) * (HEIGHT + GAP) + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for column, (damage, values_of) in enumerate(curves.items()):
        for row, metric in enumerate(METRICS):
            left, top = GAP + column * (WIDTH + GAP), GAP + row * (HEIGHT + GAP)
            pen.rectangle((left, top, left + WIDTH, top + HEIGHT), outline="#ccc")
            pen.text((left, top - 14), f"{metric}, {damage}", fill="black")
            low, high = min(*values_of[metric], 0), max(*values_of[metric], 1e-12)
            points = [
                (left + WIDTH * step, top + HEIGHT - HEIGHT * (value - low) / (high - low))
                for step, value in zip(STEPS, values_of[metric], strict=True)
            ]
            pen.line(points, fill="#2a7de1", width=2)
            for x, y in points:
                pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill="#2a7de1")
            pen.text((left + 4, top + 2), f"{high:.3g}", fill="#888")
            pen.text((left + 4, top + HEIGHT - 13), f"{low:.3g}", fill="#888")
    return canvas


def main() -> None:
    """Save the plot, and print the values of each damage and metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    params, crop_params = load(EvaluateParams, "evaluate"), load(CropParams, "crop")
    selfies = run.unchanged_selfies(DATASET, Path("data/augment"))
    base = run.load_data(params, crop_params, selfies, DATASET, MODELS)
    ids = sorted(face for part in ("train", "validation", "test") for face in split_ids(DATASET, "portraits", part))
    images, masks = load_images(Shards(DATASET.crops), ids), load_masks(DATASET, ids)[:]
    curves = measure_curves(images, masks, base)
    plot(curves).save(args.out)
    for damage, values_of in curves.items():
        for metric, values in values_of.items():
            steps = np.diff(values)
            trend = "increasing" if (steps > 0).all() else "decreasing" if (steps < 0).all() else "neither"
            print(f"{damage:13s} {metric:26s} {trend:10s} " + " ".join(f"{value:.3g}" for value in values))


if __name__ == "__main__":
    main()
