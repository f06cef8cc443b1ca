"""The first three stages of EfficientNet-Lite0 (Tan and Le 2019) without timm: what paints by optimising carries them.

A model's file has to open where only torch is installed; a test holds this to be the library's own network.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.learning.tensors import Images

EPSILON = 1e-3  # of the batch norms
BLOCKS = ((16, 24, 3), (24, 40, 5))  # channels in and out, kernel: each halves the size, and is followed by one more
EXPANSION = 6


class Same(nn.Conv2d):
    """A convolution that halves the size and pads as TensorFlow does: one more at the end than at the start."""

    def forward(self, input: Tensor) -> Tensor:
        """Half the height and width, rounded up."""
        height, width = (max(0, (-(-side // 2) - 1) * 2 + self.kernel_size[0] - side) for side in input.shape[2:])
        padded = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(padded)


def _normed(
    inside: int, outside: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Module:
    kind, padding = (Same, 0) if stride == 2 else (nn.Conv2d, kernel // 2)
    layers = [kind(inside, outside, kernel, stride, padding, groups=groups, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm2d(outside, EPSILON), *([nn.ReLU6()] if relu else []))


class Inverted(nn.Module):
    """Wider, each channel by itself, narrow again; added to what came in where the shapes agree."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = EXPANSION * inside
        self.body = nn.Sequential(
            _normed(inside, wide, 1),
            _normed(wide, wide, kernel, stride=stride, groups=wide),
            _normed(wide, outside, 1, relu=False),
        )
        self.adds = stride == 1 and inside == outside

    def forward(self, features: Tensor) -> Tensor:
        """Features, of half the size if that is its stride."""
        return features + self.body(features) if self.adds else self.body(features)


class Stem(nn.Module):
    """Images to features of a half, a half, a quarter and an eighth of the size; frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_normed(3, 32, 3, stride=2)])
        self.stages.append(nn.Sequential(_normed(32, 32, 3, groups=32), _normed(32, 16, 1, relu=False)))
        for inside, outside, kernel in BLOCKS:
            self.stages.append(
                nn.Sequential(Inverted(inside, outside, kernel, 2), Inverted(outside, outside, kernel, 1))
            )
        self.eval().requires_grad_(False)

    def copy_from(self, network: nn.Module) -> None:
        """Take the first weights of a network that has these layers in this order.

        Raises:
            ValueError: Its first layers are others.
        """
        own, theirs = self.state_dict(), list(network.state_dict().values())[: len(self.state_dict())]
        if [value.shape for value in own.values()] != [value.shape for value in theirs]:
            raise ValueError("the features do not begin as EfficientNet-Lite0 does")
        self.load_state_dict(dict(zip(own, theirs, strict=True)))

    def train(self, mode: bool = True) -> "Stem":
        """Stays in evaluation mode, always."""
        return super().train(False)

    def forward(self, images: Images) -> list[Tensor]:
        """The finest first."""
        found: list[Tensor] = []
        current: Tensor = images
        for stage in self.stages:
            current = stage(current)
            found.append(current)
        return found
