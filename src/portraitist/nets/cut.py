"""CUT's projector (Park et al., ECCV 2020; code BSD), and the features of the generator's encoder that it projects."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import INIT_STD, ResnetBlock, ResnetGenerator, init_weights

EMBEDDING_DIM = 256
NUM_PATCHES = 256
XAVIER = partial(nn.init.xavier_normal_, gain=INIT_STD)  # for all CUT's networks; the first outputs are nearly grey
RES_BLOCKS = (0, 4)  # indices of the residual blocks whose features are used; the last block if there are fewer

Points = Float[Tensor, "batch patches dimensions"]


def encode_features(generator: ResnetGenerator, images: Images) -> list[Tensor]:
    """Return the encoder's features: the images, after both downsamplings, after the first and fifth residual block."""
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
    """Project the features at sampled locations onto the unit sphere, with a two-layer MLP for each layer."""

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
        """Draw up to 256 locations in each layer; returns flat indices."""
        sizes = [layer.shape[2] * layer.shape[3] for layer in features]
        return [torch.randperm(size)[:NUM_PATCHES].to(features[0].device) for size in sizes]

    def forward(self, features: list[Tensor], locations: list[Tensor]) -> list[Points]:
        """Return the normalized projections at each layer's locations."""
        layers = zip(self.heads, features, locations, strict=True)
        sampled = ((head, layer.flatten(2)[:, :, indices].transpose(1, 2)) for head, layer, indices in layers)
        return [nn.functional.normalize(head(points), dim=2) for head, points in sampled]
