"""A discriminator on frozen features (Projected GAN, Sauer et al., NeurIPS 2021), without the random projections.

A few portraits are not enough to learn image features from scratch, so a pretrained network provides the features, and
small heads learn the style.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from portraitist.learning.tensors import Images

HEAD_CHANNELS = 32
Logits = Float[Tensor, "batch 1 rows columns"]


class ProjectedDiscriminator(nn.Module):
    """Classify each location of each feature layer: a high logit means painted by a person."""

    def __init__(self, features: Callable[[Images], list[Tensor]], probe: Images) -> None:
        """Build a head for each layer that `features` returns for `probe`; `features` itself is not trained."""
        super().__init__()
        self._features = (features,)  # a tuple hides a module: its weights are not parameters of this network
        self.heads = nn.ModuleList(_head(layer.shape[1]) for layer in features(probe))

    def forward(self, images: Images) -> list[Logits]:
        """Return a map of logits for each layer, of the layer's size."""
        return self.logits(self.features(images))

    def features(self, images: Images) -> list[Tensor]:
        """Return the frozen features; a caller that needs them twice can pass them to `logits`."""
        return self._features[0](images)

    def logits(self, layers: list[Tensor]) -> list[Logits]:
        """Return the heads' logits for layers that `features` returned."""
        return [head(layer) for head, layer in zip(self.heads, layers, strict=True)]


def _head(in_channels: int) -> nn.Sequential:
    channels = HEAD_CHANNELS
    return nn.Sequential(
        spectral_norm(nn.Conv2d(in_channels, channels, 3, 1, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(channels, channels, 3, 1, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(channels, 1, 1)),
    )
