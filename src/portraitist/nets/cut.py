"""CUT's projector (Park et al., ECCV 2020; code BSD), and a function that extracts its input."""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import INIT_STD, ResnetBlock, ResnetGenerator, init_weights

EMBEDDING_DIM = 256  # dimensions of a projected feature vector
NUM_PATCHES = 256  # largest number of locations that are sampled in each tensor of features
XAVIER = partial(nn.init.xavier_normal_, gain=INIT_STD)  # for all networks; before training, images are nearly grey
# indices of the residual blocks whose features are used; a generator with fewer blocks uses its last block as second
RES_BLOCKS = (0, 4)

Points = Float[Tensor, "batch patches dimensions"]


def encode_features(generator: ResnetGenerator, images: Images) -> list[Tensor]:
    """Return features of the images at five depths of the generator, one tensor for each depth.

    The tensors are the images, the outputs of the two convolutions that downsample, and the outputs of the first and
    the fifth residual block. If the generator has fewer than five blocks, its last block replaces the fifth. If the
    generator has one block, only four tensors are returned.
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
    """Map the generator's features at sampled locations to vectors of 256 dimensions and norm 1.

    Each tensor that `encode_features` returns has its own MLP with two linear layers.

    Args:
        base_channels: the generator's `base_channels`.
        num_res_blocks: the generator's number of residual blocks.
    """

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
        """Draw up to 256 random locations in each tensor of features.

        All images of the batch have the same locations. A location is returned as the integer row * width + column.

        Args:
            features: result of `encode_features`.
        """
        sizes = [layer.shape[2] * layer.shape[3] for layer in features]
        return [torch.randperm(size)[:NUM_PATCHES].to(features[0].device) for size in sizes]

    def forward(self, features: list[Tensor], locations: list[Tensor]) -> list[Points]:
        """Return a tensor of projected vectors, of norm 1, for each tensor of features.

        Args:
            features: result of `encode_features`.
            locations: result of `sample_locations`; features are projected at these locations only.
        """
        layers = zip(self.heads, features, locations, strict=True)
        sampled = ((head, layer.flatten(2)[:, :, indices].transpose(1, 2)) for head, layer, indices in layers)
        return [nn.functional.normalize(head(points), dim=2) for head, points in sampled]
