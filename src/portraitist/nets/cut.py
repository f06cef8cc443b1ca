"""CUT's projector (Park et al., ECCV 2020; code BSD), and its input: features of the generator."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import INIT_STD, ResnetBlock, ResnetGenerator, init_weights

EMBEDDING_DIM = 256  # length of a projected feature vector
NUM_PATCHES = 256  # locations that are sampled in each layer
XAVIER = partial(nn.init.xavier_normal_, gain=INIT_STD)  # for all networks; an untrained CUT paints nearly grey images
RES_BLOCKS = (0, 4)  # residual blocks whose features are used; a smaller network uses its last block instead of block 4

Points = Float[Tensor, "batch patches dimensions"]


def encode_features(generator: ResnetGenerator, images: Images) -> list[Tensor]:
    """Return five layers of features: the images, both downsamplings, the first and the fifth residual block.

    With fewer than five residual blocks, the last one replaces the fifth. With one block, there are four layers.
    """
    features: list[Tensor] = [images]
    blocks = [layer for layer in generator.layers if isinstance(layer, ResnetBlock)]
    tapped = [blocks[min(index, len(blocks) - 1)] for index in RES_BLOCKS]
    current: Tensor = images
    for layer in generator.layers:
        current = layer(current)
        if layer in tapped or (isinstance(layer, nn.Conv2d) and layer.stride == (2, 2)):
            features.append(current)
        if layer is tapped[-1]:
            break
    return features


class Projector(nn.Module):
    """Project the features at sampled locations to vectors of length 1, with a two-layer MLP for each layer."""

    def __init__(self, base_channels: int, num_res_blocks: int) -> None:
        super().__init__()
        channels = [3, 2 * base_channels, 4 * base_channels]
        channels += [4 * base_channels] * min(num_res_blocks, len(RES_BLOCKS))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(inputs, EMBEDDING_DIM), nn.ReLU(), nn.Linear(EMBEDDING_DIM, EMBEDDING_DIM))
            for inputs in channels
        )
        init_weights(self, XAVIER)

    def sample_locations(self, features: list[Tensor]) -> list[Tensor]:
        """Draw up to 256 random locations in each layer; return them as row * width + column."""
        sizes = [layer.shape[2] * layer.shape[3] for layer in features]
        return [torch.randperm(size)[:NUM_PATCHES].to(features[0].device) for size in sizes]

    def forward(self, features: list[Tensor], locations: list[Tensor]) -> list[Points]:
        """Return the projected vectors, of length 1, at the given locations of each layer.

        Args:
            features: layers that `encode_features` returned.
            locations: locations that `sample_locations` returned.
        """
        layers = zip(self.heads, features, locations, strict=True)
        sampled = ((head, layer.flatten(2)[:, :, indices].transpose(1, 2)) for head, layer, indices in layers)
        return [nn.functional.normalize(head(points), dim=2) for head, points in sampled]
