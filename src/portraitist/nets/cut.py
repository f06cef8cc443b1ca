"""CUT's projector (Park et al., ECCV 2020; code BSD): a generator's own features as points to be told apart."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import INIT_STD, ResnetBlock, ResnetGenerator, init_weights

DIMENSIONS = 256
PATCHES = 256
XAVIER = partial(nn.init.xavier_normal_, gain=INIT_STD)  # how all its networks' weights are drawn: it paints grey first
BLOCKS = (0, 4)  # the residual blocks that are looked at, the last one where there are fewer


def encode_features(generator: ResnetGenerator, images: Images) -> list[Tensor]:
    """The features of the way down: pixels, both halvings, the first and the fifth residual block."""
    found: list[Tensor] = [images]
    blocks = [layer for layer in generator.layers if isinstance(layer, ResnetBlock)]
    wanted = [blocks[min(place, len(blocks) - 1)] for place in BLOCKS]
    current: Tensor = images
    for layer in generator.layers:
        current = layer(current)
        if layer in wanted or (isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)):
            found.append(current)
        if layer is wanted[-1]:
            break
    return found


class Projector(nn.Module):
    """Features at a few places, each made a point on a sphere by a small network of its own."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        channels = [3, 2 * width, 4 * width, *[4 * width] * min(blocks, len(BLOCKS))]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(inside, DIMENSIONS), nn.ReLU(), nn.Linear(DIMENSIONS, DIMENSIONS))
            for inside in channels
        )
        init_weights(self, XAVIER)

    def places(self, features: list[Tensor]) -> list[Tensor]:
        """Where each layer is looked at: at most 256 places, drawn."""
        sizes = [layer.shape[2] * layer.shape[3] for layer in features]
        return [torch.randperm(size)[:PATCHES].to(features[0].device) for size in sizes]

    def forward(self, features: list[Tensor], places: list[Tensor]) -> list[Float[Tensor, "batch patches dimensions"]]:
        """The points of each layer at its places."""
        layers = zip(self.heads, features, places, strict=True)
        chosen = ((head, layer.flatten(2)[:, :, where].transpose(1, 2)) for head, layer, where in layers)
        return [nn.functional.normalize(head(points), dim=2) for head, points in chosen]
