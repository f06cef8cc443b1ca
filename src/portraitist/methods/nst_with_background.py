"""Neural style transfer (Gatys, Ecker, Bethge, CVPR 2016); a portrait's background is part of its style.

No weights are trained. The model file contains training portraits, one of which gives the style. To paint a selfie, the
pixels of a copy of the selfie are optimized. The Gram matrices of the copy's features approach the Gram matrices of the
portrait's features, while the features themselves stay close to the selfie's features.
"""

from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.core.params import NonNegativeFloat, OpenFraction, ParamsError, PositiveInt, Section
from portraitist.learning.losses import gram_loss, relative_content_loss
from portraitist.learning.method import Method, Shared, UpstreamModels
from portraitist.learning.optim import Losses
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.nets.stem import Stem

OUTLINE_SIZE = (16, 16)  # height and width to which masks are reduced before they are compared
CONTENT_LAYER = -1  # the content loss compares the coarsest layer of features


class Params(Section):
    """How the portrait that gives the style is chosen, and how the pixels are optimized."""

    # nearest: the portrait whose person has the most similar outline; random: one random portrait for all selfies
    style: Literal["nearest", "random"]
    portraits: PositiveInt  # number of portraits in the model file
    optimizer: Literal["adam", "lbfgs"]
    learning_rate: OpenFraction  # of Adam; L-BFGS uses a line search
    optimization_steps: Annotated[PositiveInt, Shared("train")]  # per selfie
    style_weight: NonNegativeFloat  # weight of the style loss; the content loss has weight 1


class PortraitBank(nn.Module):
    """A store of up to `size` portraits with their masks."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.images = torch.zeros(0)  # (count, 4, height, width): RGB and mask

    def add(self, portraits: Images, masks: Masks) -> None:
        """Store portraits until there are `size` of them; ignore further ones."""
        new = torch.cat([portraits, masks], dim=1).cpu()
        self.images = torch.cat([self.images, new])[: self.size] if len(self.images) else new[: self.size]

    def choose(self, masks: Masks, *, nearest: bool) -> tuple[Images, Masks]:
        """Return one stored portrait, with its mask, for each selfie.

        Args:
            masks: the selfies' masks.
            nearest: choose the portrait with the most similar mask; otherwise, always the first portrait.
        """
        portraits, portrait_masks = self.images.to(masks).split((3, 1), dim=1)
        outlines = F.adaptive_avg_pool2d(portrait_masks, OUTLINE_SIZE)[None]
        distances = (F.adaptive_avg_pool2d(masks, OUTLINE_SIZE)[:, None] - outlines).abs().mean(dim=(2, 3, 4))
        indices = distances.argmin(dim=1) if nearest else torch.zeros_like(distances[:, 0], dtype=torch.long)
        return portraits[indices], portrait_masks[indices]

    def get_extra_state(self) -> Tensor:
        """Return the portraits and masks for the state dict, so that the model file contains them."""
        return self.images

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the portraits returned by `get_extra_state`."""
        self.images = state


@register(Params)
class NstWithBackground(Method):
    """Neural style transfer. The model file contains the portraits whose styles are used, and the feature network."""

    saved_modules = ("bank", "features")

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        self.bank = PortraitBank(params.portraits)
        self.features = Stem()
        if upstream is None:
            return
        features = upstream.require("features")
        try:
            self.features.copy_from(features)
        except ValueError as error:
            raise ParamsError(
                f"content.network: neural style transfer needs lite0 ({error}); set content.network=lite0"
            ) from None

    def step(self, batch: Batch) -> Losses:
        """Store the batch's portraits. There are no loss terms."""
        self.bank.add(batch.portraits, batch.portrait_masks)
        return {}

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return stylized images, background included, in [-1, 1].

        The masks are used only to choose the portrait that gives the style; see `PortraitBank.choose`.
        """
        return self.transfer_style(selfies, masks, person_only=False)

    def transfer_style(self, selfies: Images, masks: Masks, *, person_only: bool) -> Images:
        """Return the selfies with optimized pixels, in [-1, 1].

        Args:
            selfies: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width) in [0, 1]; 1 is the person.
            person_only: compute Gram matrices over the persons only; otherwise, over whole images.
        """
        if len(selfies) > 1:  # optimize one selfie at a time; images that are optimized together affect each other
            pairs = zip(selfies.split(1), masks.split(1), strict=True)
            return torch.cat([self.transfer_style(*pair, person_only=person_only) for pair in pairs])
        portraits, portrait_masks = self.bank.choose(masks, nearest=self.params.style == "nearest")
        gram_masks, target_masks = (area if person_only else torch.ones_like(area) for area in (masks, portrait_masks))
        with torch.no_grad():
            content, style = self.features(selfies), self.features(portraits)
        with torch.enable_grad():
            pixels = selfies.clone().requires_grad_()
            optimizer = self._make_optimizer(pixels)

            def closure() -> float:
                optimizer.zero_grad()
                features = self.features(pixels)
                style_losses = [
                    gram_loss(layer, gram_masks, target, target_masks)
                    for layer, target in zip(features, style, strict=True)
                ]
                style_loss = torch.stack(style_losses).mean(dim=0)
                content_loss = relative_content_loss(features[CONTENT_LAYER], content[CONTENT_LAYER])
                loss = (content_loss + self.params.style_weight * style_loss).sum()
                loss.backward()
                assert pixels.grad is not None
                pixels.grad = pixels.grad.contiguous()  # L-BFGS requires it
                return float(loss.detach())

            for _ in range(1 if self.params.optimizer == "lbfgs" else self.params.optimization_steps):
                optimizer.step(closure)
        return pixels.detach().clamp(-1, 1)

    def _make_optimizer(self, pixels: Tensor) -> torch.optim.Optimizer:
        if self.params.optimizer == "adam":
            return torch.optim.Adam([pixels], lr=self.params.learning_rate)
        return torch.optim.LBFGS([pixels], max_iter=self.params.optimization_steps, line_search_fn="strong_wolfe")
