"""Neural style transfer (Gatys, Ecker, Bethge, CVPR 2016): a portrait's background counts as style, as in the paper.

Nothing is trained. What is kept are portraits to take the style from; painting moves the selfie's pixels until the
features' correlations are the portrait's, and the features themselves still the selfie's.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.core.params import NonNegativeFloat, OpenFraction, ParamsError, PositiveInt, Section
from portraitist.learning.losses import gram_loss, relative_content_loss
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.methods.base import Losses, Method, UpstreamModels, require
from portraitist.nets.stem import Stem

OUTLINE = (16, 16)  # masks are compared so coarsely
CONTENT_LAYER = -1  # of the features, the coarsest


class Params(Section):
    """Which portrait gives the style, and how it is brought over."""

    style: Literal["nearest", "random"]  # the portrait whose outline is most like the selfie's; or one for all, by seed
    portraits: PositiveInt  # so many are kept to choose from
    optimiser: Literal["adam", "lbfgs"]
    learning_rate: OpenFraction  # of Adam; L-BFGS searches for its own
    painting_steps: PositiveInt
    style_weight: NonNegativeFloat


class Album(nn.Module):
    """Portraits with their masks, as many as there is room for."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.pictures = torch.zeros(0)  # of four channels, the mask the last

    def add(self, portraits: Images, masks: Masks) -> None:
        """Keep them, as long as there is room."""
        more = torch.cat([portraits, masks], dim=1).cpu()
        self.pictures = torch.cat([self.pictures, more])[: self.size] if len(self.pictures) else more[: self.size]

    def chosen(self, masks: Masks, *, nearest: bool) -> tuple[Images, Masks]:
        """For each mask the portrait whose outline is most like it, or the first portrait; and the portrait's mask."""
        portraits, known = self.pictures.to(masks).split((3, 1), dim=1)
        outlines = F.adaptive_avg_pool2d(known, OUTLINE)[None]
        distances = (F.adaptive_avg_pool2d(masks, OUTLINE)[:, None] - outlines).abs().mean(dim=(2, 3, 4))
        which = distances.argmin(dim=1) if nearest else torch.zeros_like(distances[:, 0], dtype=torch.long)
        return portraits[which], known[which]

    def get_extra_state(self) -> Tensor:
        """Its pictures: they are what this model is."""
        return self.pictures

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what `get_extra_state` gave."""
        self.pictures = state


class NstWithBackground(Method):
    """An album, and the network whose features say what is alike."""

    saved_modules = ("album", "features")

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        self.album = Album(params.portraits)
        self.features = Stem()

    def setup(self, upstream: UpstreamModels) -> None:
        """Take the features' weights.

        Raises:
            ParamsError: They are another network's.
        """
        features = require(upstream.features, "features")
        try:
            self.features.copy_from(features)
        except ValueError as error:
            raise ParamsError(f"content.network: style transfer reads lite0 only: {error}") from None

    def step(self, batch: Batch) -> Losses:
        """Nothing is learned: the first portraits that come by are kept."""
        self.album.add(batch.portraits, batch.portrait_masks)
        return {}

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The whole picture, background and all."""
        return self.painted(selfies, masks, torch.ones_like(masks), whole=True)

    def painted(self, selfies: Images, masks: Masks, weights: Masks, *, whole: bool) -> Images:
        """The selfies with the style of a portrait, which is taken of where the weights are, or of the whole."""
        if len(selfies) > 1:  # each by itself: the optimisers would let one picture's noise sway another's
            parts = zip(selfies.split(1), masks.split(1), weights.split(1), strict=True)
            return torch.cat([self.painted(*part, whole=whole) for part in parts])
        portraits, theirs = self.album.chosen(masks, nearest=self.params.style == "nearest")
        with torch.no_grad():
            content, style = self.features(selfies), self.features(portraits)
        with torch.enable_grad():
            pixels = selfies.clone().requires_grad_()
            optimizer = self._optimizer(pixels)

            def loss() -> float:
                optimizer.zero_grad()
                seen = self.features(pixels)
                styles = [
                    gram_loss(now, weights, then, torch.ones_like(theirs) if whole else theirs)
                    for now, then in zip(seen, style, strict=True)
                ]
                kept = relative_content_loss(seen[CONTENT_LAYER], content[CONTENT_LAYER])
                total = (kept + self.params.style_weight * torch.stack(styles).mean(dim=0)).sum()
                total.backward()
                assert pixels.grad is not None
                pixels.grad = pixels.grad.contiguous()  # L-BFGS reads no other
                return float(total.detach())

            for _ in range(1 if self.params.optimiser == "lbfgs" else self.params.painting_steps):
                optimizer.step(loss)
        return pixels.detach().clamp(-1, 1)

    def _optimizer(self, pixels: Tensor) -> torch.optim.Optimizer:
        if self.params.optimiser == "adam":
            return torch.optim.Adam([pixels], lr=self.params.learning_rate)
        return torch.optim.LBFGS([pixels], max_iter=self.params.painting_steps, line_search_fn="strong_wolfe")
