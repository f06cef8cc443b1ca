"""Numbers on what a method painted: one metric a file, found by its name, each with its interval and its counts.

A metric sees pictures and features, never who painted.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.images import Images, Masks
from portraitist.params import CropParams

Features = Float[np.ndarray, "_ length"]  # of one set of pictures; another set may hold more
Portraits = Float[Tensor, "portraits 3 height width"]
PortraitMasks = Float[Tensor, "portraits 1 height width"]


@dataclass(frozen=True)
class Evidence:
    """What was painted, and what it is held against.

    Masks are the exact ones where they are known, else the pipeline's. `turned[b]` are all selfies painted on test
    background b. `frame` says where in a crop the face lies.
    """

    selfies: Images
    masks: Masks
    painted: Images
    turned: list[Images]
    portraits: Portraits
    portrait_masks: PortraitMasks
    masker: Callable[[Images], Masks]  # the U-Net of stage 2
    frame: CropParams
    features: Callable[[Images], Features]
    features_name: str
    bootstrap: int
    seed: int


@dataclass(frozen=True)
class Measure:
    """A number, the interval that holds it 95 times in 100 were other pictures drawn, and how it was come by."""

    value: float
    low: float
    high: float
    n: int
    about: dict[str, Any]

    def rounded(self) -> dict[str, Any]:
        """As JSON: six significant digits, so that equal runs give equal bytes."""
        return {key: float(f"{v:.6g}") if isinstance(v, float) else v for key, v in asdict(self).items()}


def metrics() -> dict[str, Callable[[Evidence], Measure]]:
    """Every metric by name: the files beside this one that do not begin with an underscore."""
    found = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    return {name: importlib.import_module(f"{__name__}.{name}").measure for name in found}


def mean_with_interval(values: Features | np.ndarray, evidence: Evidence, **about: Any) -> Measure:
    """The mean of one value a face, and its percentile bootstrap interval over faces (Efron 1979)."""
    rng = np.random.default_rng(evidence.seed)
    drawn = rng.integers(len(values), size=(evidence.bootstrap, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return Measure(float(values.mean()), float(low), float(high), len(values), about)


def set_distance(distance: Callable[[Features, Features], float], evidence: Evidence) -> Measure:
    """A distance of the painted foregrounds from the portraits', and its bootstrap interval over both sets.

    Resampled sets hold pictures twice, which lengthens a distance; the interval is shifted back by the mean of that.
    """
    painted = evidence.features(foreground(evidence.painted, evidence.masks))
    portraits = evidence.features(foreground(evidence.portraits, evidence.portrait_masks))
    value, rng = distance(painted, portraits), np.random.default_rng(evidence.seed)
    drawn = [
        distance(
            painted[rng.integers(len(painted), size=len(painted))],
            portraits[rng.integers(len(portraits), size=len(portraits))],
        )
        for _ in range(evidence.bootstrap)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5]) - np.mean(drawn) + value
    about = {"network": evidence.features_name, "n_portraits": len(portraits), "seen": "person on grey"}
    return Measure(value, float(low), float(high), len(painted), about)


def pooled_features(pooled: Callable[[Images], Tensor], side_px: int) -> Callable[[Images], Features]:
    """A feature network's pooled output, of images brought to one side by antialiased bicubic resizing."""

    @torch.no_grad()
    def features(images: Images) -> Features:
        parts = [
            pooled(F.interpolate(part, size=side_px, mode="bicubic", antialias=True, align_corners=False))
            for part in images.split(16)
        ]
        return torch.cat(parts).double().numpy()

    return features


def masks_by(net: nn.Module) -> Callable[[Images], Masks]:
    """The masker's masks, without gradients."""

    @torch.no_grad()
    def masks(images: Images) -> Masks:
        return torch.cat([net.eval()(part) for part in images.split(16)])

    return masks


def foreground(images: Images, masks: Masks) -> Images:
    """The persons on grey, by hard masks: a soft edge would carry the background along."""
    return images * (masks > 0.5)
