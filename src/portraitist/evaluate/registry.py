"""Numbers on what a method painted: one metric a file, found by its name, each with its interval and its counts.

A metric sees pictures and features, never who painted. Pictures are read part by part: memory does not grow with them.
"""

import hashlib
import importlib
import itertools
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.core.types import Picture
from portraitist.crop.geometry import Face
from portraitist.crop.params import CropParams
from portraitist.learning.tensors import Images, Masks
from portraitist.stats.bootstrap import TooFewSamplesError, confidence_interval

AT_ONCE = 16  # pictures in memory, whatever the size of a set

Features = Float[np.ndarray, "_ length"]  # of one set of pictures; another set may hold more
Drawn = Int[np.ndarray, "times _"]
Chosen = Int[np.ndarray, "_"]
Values = Float[np.ndarray, "_"]  # one a face; NaN where a face has none
Kind = Literal["painted", "selfies", "portraits", "studied"]
Seen = Literal["person on grey", "whole picture"]


@runtime_checkable
class Stack(Protocol):
    """Images or masks that are read when a part of them is asked for; a tensor is one too."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class Network:
    """A feature network, its pooled features, and what must stand beside every number that comes from it."""

    features: Callable[[Images], Features]
    about: dict[str, str]  # network, resize, version


@dataclass(frozen=True)
class Evidence:
    """What was painted, and what it is held against.

    Masks are the exact ones where they are known, else the pipeline's. `turned[b]` are all selfies painted on test
    background b. `portraits` were never trained on, `studied` were. `frame` says where in a crop the face lies;
    `find` gives the face in a picture, if there is one.
    """

    ids: list[str]
    selfies: Stack
    masks: Stack
    painted: Stack
    turned: list[Stack]
    portraits: Stack
    portrait_masks: Stack
    studied: Stack
    studied_masks: Stack
    segmenter: Callable[[Images], Masks]  # the U-Net of stage 2
    find: Callable[[Picture], Face | None]
    frame: CropParams
    networks: Mapping[str, Network]
    cost: Mapping[str, float]  # of one avatar
    bootstrap: int
    seed: int
    kept: dict[Any, Any] = field(default_factory=dict)  # what several metrics need is made once

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` gives, made at the first call with this key."""
        if key not in self.kept:
            self.kept[key] = make()
        return self.kept[key]

    def features(self, network: str, kind: Kind, seen: Seen) -> Features:
        """A network's features of one set of pictures."""
        masks = {"painted": "masks", "selfies": "masks", "portraits": "portrait_masks", "studied": "studied_masks"}[
            kind
        ]
        see = self.networks[network].features

        def of(images: Images, people: Masks) -> Features:
            return see(foreground(images, people) if seen == "person on grey" else images)

        return self.once(
            (network, kind, seen), lambda: by_parts(of, getattr(self, kind), getattr(self, masks)).astype(np.float64)
        )

    def draws(self, count: int, of: Literal["faces", "portraits"] = "faces") -> Drawn:
        """Which of so many pictures each resampling holds: the same for every metric and method, so that they pair."""
        rng = np.random.default_rng([self.seed, 0 if of == "faces" else 1])
        return rng.integers(count, size=(self.bootstrap, count))


@dataclass(frozen=True)
class Measure:
    """A number, the interval that holds it 95 times in 100 were other pictures drawn, and how it was come by.

    `each` are the faces' own values, if it is a mean of such; `draws` what the resampled sets gave.
    """

    value: float
    low: float
    high: float
    n: int
    about: dict[str, Any]
    each: Values | None = None
    draws: Values | None = None

    def rounded(self) -> dict[str, Any]:
        """As JSON: six significant digits, so that equal runs give equal bytes."""
        numbers = {name: float(f"{getattr(self, name):.6g}") for name in ("value", "low", "high")}
        return numbers | {"n": self.n, "about": self.about}


@dataclass(frozen=True)
class Metric:
    """One file: what it says it measures, the value that would be perfect, the network it needs, and how it is done."""

    says: str
    goal: float
    network: str | None
    measure: Callable[[Evidence], Measure]


def metrics(networks: Collection[str]) -> dict[str, Metric]:
    """Every metric that these networks allow, by name: the files beside this one without an underscore before."""
    names = sorted({path.stem for path in Path(__file__).parent.glob("[!_]*.py")} - {"registry", "run", "params"})
    found = {}
    for name in names:
        module = importlib.import_module(f"portraitist.evaluate.{name}")
        network = getattr(module, "NETWORK", None)
        if network is None or network in networks:
            says = str(module.__doc__).partition("\n\n")[0].replace("\n", " ").strip()
            found[name] = Metric(says, module.GOAL, network, module.measure)
    return found


def code() -> str:
    """Twelve digits of the SHA-256 of all code in this folder: which code a number came from, commit or no commit."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def versions(*modules: str) -> str:
    """The versions of libraries that are loaded, without what they were built for."""
    return ", ".join(f"{name} {str(sys.modules[name].__version__).partition('+')[0]}" for name in modules)


def by_parts(function: Callable[..., np.ndarray], *stacks: Stack) -> np.ndarray:
    """What a function says of every picture, so many in memory at once; it gets as many of each stack."""
    starts = range(0, len(stacks[0]), AT_ONCE)
    return np.concatenate([function(*(stack[start : start + AT_ONCE] for stack in stacks)) for start in starts])


def mean_over_faces(values: Values, evidence: Evidence, **about: Any) -> Measure:
    """The mean of one value a face, of those that have one, and its interval over faces.

    Raises:
        TooFewError: Fewer than two faces have a value.
    """
    has = np.isfinite(values)
    if has.sum() < 2:
        raise TooFewSamplesError(f"{has.sum()} of {len(values)} faces have a value; a mean with an interval needs two")
    drawn = evidence.draws(len(values))
    counts = has[drawn].sum(axis=1)
    sums = np.where(has, values, 0)[drawn].sum(axis=1)
    value = float(values[has].mean())
    draws = np.where(counts > 0, sums / np.maximum(counts, 1), value)
    return Measure(value, *confidence_interval(value, draws, int(has.sum())), int(has.sum()), about, values, draws)


def mean_beside_portraits(
    values: Callable[[Chosen], Values], portraits: int, evidence: Evidence, /, **about: Any
) -> Measure:
    """The mean over faces of a value that is held against the portraits; its interval is over the pictures of both.

    `values` gives every face's value were the chosen portraits all there are.

    Raises:
        TooFewError: Fewer than two faces have a value, or there are fewer than two portraits.
    """
    measure = mean_over_faces(values(np.arange(portraits)), evidence, n_portraits=portraits, **about)
    pairs = zip(evidence.draws(len(evidence.ids)), evidence.draws(portraits, "portraits"), strict=True)
    draws = np.array([np.nanmean(values(others)[some]) for some, others in pairs])
    low, high = confidence_interval(measure.value, draws, min(measure.n, portraits))
    return replace(measure, low=low, high=high, draws=draws)


def distance_of_sets(
    distance: Callable[[Features, Features], float],
    network: str,
    seen: Seen,
    evidence: Evidence,
    at_most: int | None = None,
    **about: Any,
) -> Measure:
    """A distance of what was painted from the portraits, and its interval over the pictures of both.

    Of the draws only so many are made `at_most`; the others are NaN, so that all metrics' draws stay in step.
    """
    painted = evidence.features(network, "painted", seen)
    portraits = evidence.features(network, "portraits", seen)
    value = distance(painted, portraits)
    pairs = zip(evidence.draws(len(painted)), evidence.draws(len(portraits), "portraits"), strict=True)
    draws = np.full(evidence.bootstrap, np.nan)
    for time, (some, others) in enumerate(itertools.islice(pairs, at_most)):
        draws[time] = distance(painted[some], portraits[others])
    about = evidence.networks[network].about | {"n_portraits": len(portraits), "seen": seen} | about
    return Measure(
        value, *confidence_interval(value, draws, min(len(painted), len(portraits))), len(painted), about, draws=draws
    )


def exact(value: float, **about: Any) -> Measure:
    """A number that no picture changes."""
    return Measure(value, value, value, 1, about)


def pooled_features(pooled: Callable[[Images], Tensor], side_px: int) -> Callable[[Images], Features]:
    """A feature network's pooled output, of images brought to one side by antialiased bicubic resizing."""

    @torch.no_grad()
    def features(images: Images) -> Features:
        return pooled(F.interpolate(images, size=side_px, mode="bicubic", antialias=True, align_corners=False)).numpy()

    return features


def masks_by(net: nn.Module) -> Callable[[Images], Masks]:
    """The segmenter's masks, without gradients."""

    @torch.no_grad()
    def masks(images: Images) -> Masks:
        return torch.cat([net.eval()(part) for part in images.split(AT_ONCE)])

    return masks


def foreground(images: Images, masks: Masks) -> Images:
    """The persons on grey, by hard masks: a soft edge would carry the background along."""
    return images * (masks > 0.5)
