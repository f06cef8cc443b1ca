"""A discriminator on frozen features (Projected GAN, Sauer et al., NeurIPS 2021), without the random projections.

A few hundred portraits are too few to learn image features from scratch. A pretrained network therefore provides the
features, and small trained networks, the heads, classify them.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from portraitist.learning.tensors import Images

HEAD_CHANNELS = 32
Logits = Float[Tensor, "batch 1 rows columns"]


class ProjectedDiscriminator(nn.Module):
    """Classify each location of each feature layer; a high logit means that a person painted the location."""

    def __init__(self, features: Callable[[Images], list[Tensor]], probe: Images) -> None:
        """Build a head for each layer of features.

        Args:
            features: function that returns layers of features; it is not trained.
            probe: any images in [-1, 1]; their features determine the number of input channels of each head.
        """
        super().__init__()
        self._features = (features,)  # a tuple, so that torch does not register its weights as weights of this network
        self.heads = nn.ModuleList(_head(layer.shape[1]) for layer in features(probe))

    def forward(self, images: Images) -> list[Logits]:
        """Return a map of logits for each layer of features, with the same height and width as the layer."""
        return self.logits(self.features(images))

    def features(self, images: Images) -> list[Tensor]:
        """Return the layers of features of images in [-1, 1], as input for `logits`."""
        return self._features[0](images)

    def logits(self, layers: list[Tensor]) -> list[Logits]:
        """Return the maps of logits for layers that `features` returned."""
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
