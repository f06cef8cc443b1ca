"""A discriminator of frozen features (Projected GAN, Sauer et al., NeurIPS 2021), without the random projections.

Few portraits teach little of what a picture is; a pretrained network knows it, and small heads on it judge the style.
"""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from portraitist.learning.tensors import Images

WIDTH = 32  # of a head


class ProjectedDiscriminator(nn.Module):
    """Images to one map of judgements for each layer of features: larger is more as painted by a person."""

    def __init__(self, features: nn.Module, probe: Images) -> None:
        """`features` gives layers of maps and stays as it is; `probe` is any image, to learn their channels from."""
        super().__init__()
        self.frozen = (features,)  # in a tuple, for its weights are not this network's
        self.heads = nn.ModuleList(_head(layer.shape[1]) for layer in features(probe))

    def forward(self, images: Images) -> list[Float[Tensor, "batch 1 rows columns"]]:
        """The judgements, of the layers' sizes."""
        layers = self.frozen[0](images)
        return [head(layer) for head, layer in zip(self.heads, layers, strict=True)]


def _head(channels: int) -> nn.Sequential:
    return nn.Sequential(
        spectral_norm(nn.Conv2d(channels, WIDTH, 3, 1, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(WIDTH, WIDTH, 3, 1, 1)),
        nn.LeakyReLU(0.2),
        spectral_norm(nn.Conv2d(WIDTH, 1, 1)),
    )
