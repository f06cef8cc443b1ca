"""The first stages of EfficientNet-Lite0 (Tan and Le, 2019), for methods whose model file contains them.

They are rebuilt without timm, because a saved model must load without that package. A test compares the outputs with
those of timm's network.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.learning.tensors import Images

EPSILON = 1e-3  # added to the variance in batch norms
# the last two stages: input channels, output channels, kernel size; each has a block of stride 2 and one of stride 1
STAGES = ((16, 24, 3), (24, 40, 5))
EXPANSION = 6  # channels inside a block, as a multiple of its input channels


class SamePadConv2d(nn.Conv2d):
    """A convolution of stride 2 with TensorFlow's SAME padding.

    If the number of rows or columns to pad is odd, one more is padded at the bottom or right than on the opposite side.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return features with half the height and width, rounded up."""
        height, width = (max(0, (-(-side // 2) - 1) * 2 + self.kernel_size[0] - side) for side in input.shape[2:])
        padded = F.pad(input, (width // 2, width - width // 2, height // 2, height - height // 2))
        return super().forward(padded)


def _conv_norm(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, relu: bool = True
) -> nn.Module:
    convolution, padding = (SamePadConv2d, 0) if stride == 2 else (nn.Conv2d, kernel // 2)
    layers = [convolution(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False)]
    return nn.Sequential(*layers, nn.BatchNorm2d(out_channels, EPSILON), *([nn.ReLU6()] if relu else []))


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution and projection, plus a residual connection if input and output shapes agree."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int) -> None:
        super().__init__()
        expanded = EXPANSION * in_channels
        self.body = nn.Sequential(
            _conv_norm(in_channels, expanded, 1),
            _conv_norm(expanded, expanded, kernel, stride=stride, groups=expanded),
            _conv_norm(expanded, out_channels, 1, relu=False),
        )
        self.has_residual = stride == 1 and in_channels == out_channels

    def forward(self, features: Tensor) -> Tensor:
        """Return features. With stride 1, height and width stay the same; with stride 2, both are halved."""
        return features + self.body(features) if self.has_residual else self.body(features)


class Stem(nn.Module):
    """The first four stages of EfficientNet-Lite0, frozen.

    The stages have 32, 16, 24 and 40 channels, at 1/2, 1/2, 1/4 and 1/8 of the images' height and width.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([_conv_norm(3, 32, 3, stride=2)])
        self.stages.append(nn.Sequential(_conv_norm(32, 32, 3, groups=32), _conv_norm(32, 16, 1, relu=False)))
        for inputs, outputs, kernel in STAGES:
            self.stages.append(
                nn.Sequential(
                    InvertedResidual(inputs, outputs, kernel, 2), InvertedResidual(outputs, outputs, kernel, 1)
                )
            )
        self.eval().requires_grad_(False)

    def copy_from(self, network: nn.Module) -> None:
        """Copy the weights of the first layers of an EfficientNet-Lite0, such as timm's.

        Raises:
            ValueError: the first layers of `network` have other shapes.
        """
        own, source = self.state_dict(), list(network.state_dict().values())[: len(self.state_dict())]
        if [value.shape for value in own.values()] != [value.shape for value in source]:
            raise ValueError(
                f"expected EfficientNet-Lite0, but the first layers of {type(network).__name__} have other shapes"
            )
        self.load_state_dict(dict(zip(own, source, strict=True)))

    def train(self, mode: bool = True) -> "Stem":
        """Ignore `mode`: the network always stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Images) -> list[Tensor]:
        """Return the features of the four stages, the finest first; `images` are in [-1, 1]."""
        features: list[Tensor] = []
        current: Tensor = images
        for stage in self.stages:
            current = stage(current)
            features.append(current)
        return features
