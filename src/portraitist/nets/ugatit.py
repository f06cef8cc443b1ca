"""U-GAT-IT's networks (Kim et al., ICLR 2020), the light version of minivision-ai/photo2cartoon (MIT).

photo2cartoon's generator has 32 base channels, and four residual blocks each in encoder and decoder, for images of
256 px. For smaller images, the networks here have fewer hourglasses and downsamplings; see `scale_count`.
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import Logits as PatchLogits
from portraitist.nets.cyclegan import ResnetBlock

CamLogits = Float[Tensor, "batch 2"]  # one logit from average-pooled features, and one from max-pooled features
Vectors = Float[Tensor, "batch channels"]
# numbers for images of 256 px; `scale_count` reduces them for smaller images
NUM_HOURGLASSES, HOURGLASS_LEVELS = 4, 4  # hourglasses of the generator, and downsamplings in each of them
GLOBAL_LEVELS, LOCAL_LEVELS = 5, 3  # downsamplings of the global and of the local discriminator
MAX_PX, MIN_PX = 256, 32  # image sizes between which `scale_count` scales
MIN_CHANNELS = 4  # a ConvBlock divides its channels by 4
EPSILON = 1e-5


def scale_count(count: int, size_px: int) -> int:
    """Return the number of hourglasses or downsamplings for images of `size_px`.

    For images of 256 px and larger, the number is `count`. Below 256 px, the number decreases in proportion to
    log2(size_px / 32), down to 1.
    """
    return max(1, round(count * min(1, math.log2(size_px / MIN_PX) / math.log2(MAX_PX / MIN_PX))))


def _convolution(in_channels: int, out_channels: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False, padding_mode="reflect")


class ConvBlock(nn.Module):
    """A residual block that concatenates the outputs of three successive convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels, channels // 2, channels // 4, channels - channels // 2 - channels // 4]
        self.convolutions = nn.ModuleList(map(_convolution, widths, widths[1:]))
        self.norms = nn.ModuleList(map(nn.InstanceNorm2d, widths[:-1]))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        current, outputs = features, []
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            current = convolution(norm(current).relu())
            outputs.append(current)
        return features + torch.cat(outputs, 1)


class HourglassLevel(nn.Module):
    """Add the outputs of two branches: a block at full size, and a smaller hourglass at half the height and width.

    Args:
        channels: channels of input and output.
        levels: number of times that height and width are halved.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.same_size = ConvBlock(channels)
        inner = HourglassLevel(channels, levels - 1) if levels > 1 else ConvBlock(channels)
        blocks = [ConvBlock(channels), inner, ConvBlock(channels)]
        self.half_size = nn.Sequential(nn.AvgPool2d(2), *blocks, nn.Upsample(scale_factor=2))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        return self.same_size(features) + self.half_size(features)


def _hourglass(channels: int, levels: int) -> nn.Sequential:
    layers = [HourglassLevel(channels, levels), ConvBlock(channels), _convolution(channels, channels, 1)]
    return nn.Sequential(*layers, nn.InstanceNorm2d(channels), nn.ReLU())


class ImageHourglass(nn.Module):
    """An hourglass network with a residual connection.

    The result is the sum of three tensors: the input; a linear map of the hourglass's output; and a linear map of an
    RGB image that is computed from the hourglass's output.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.hourglass = _hourglass(channels, levels)
        self.to_image = nn.Conv2d(channels, 3, 1)
        self.from_features, self.from_image = nn.Conv2d(channels, channels, 1), nn.Conv2d(3, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        refined = self.hourglass(features)
        return features + self.from_features(refined) + self.from_image(self.to_image(refined))


def _standardize(features: Tensor, dims: tuple[int, ...]) -> Tensor:
    variance, mean = torch.var_mean(features, dims, keepdim=True)
    return (features - mean) / (variance + EPSILON).sqrt()


class InstanceLayerNorm(nn.Module):
    """A weighted mean of instance norm and layer norm, with a learned weight for each channel.

    Args:
        channels: channels of input and output.
        rho: initial weight of instance norm, in [0, 1]; layer norm has weight 1 - rho.
    """

    def __init__(self, channels: int, rho: float) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((channels, 1, 1), rho))

    def normalize(self, features: Tensor) -> Tensor:
        """Return normalized features of the same shape as `features`."""
        return self.rho * _standardize(features, (2, 3)) + (1 - self.rho) * _standardize(features, (1, 2, 3))


class Lin(InstanceLayerNorm):
    """LIN: `InstanceLayerNorm` with a learned scale and shift of each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 0.0)
        self.scale, self.shift = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        return self.normalize(features) * self.scale + self.shift


class AffineParameter(nn.Module):
    """Predict one value for each channel of an image's features. The value is used as a scale or as a shift.

    The value is the weighted mean of two predictions: one from a content vector, and one from a style vector. The
    weights are learned for each channel. `UgatitGenerator` computes both vectors from the image that it translates:

    - Content vector: the mean of each channel of an encoder block's output.
    - Style vector: the mean of each channel of the CAM's output, transformed by two linear layers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.content_weight = nn.Parameter(torch.zeros(channels))
        self.content = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.style = nn.Linear(channels, channels)

    def forward(self, content: Vectors, style: Vectors) -> Float[Tensor, "batch channels 1 1"]:
        """Return one value for each channel of each image."""
        mixed = (1 - self.content_weight) * self.style(style) + self.content_weight * self.content(content)
        return mixed[:, :, None, None]


class SoftAdaLin(InstanceLayerNorm):
    """Soft AdaLIN: `InstanceLayerNorm` with a scale and a shift that `AffineParameter` predicts for each image."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 0.9)
        self.scale, self.shift = AffineParameter(channels), AffineParameter(channels)

    def forward(self, features: Tensor, content: Vectors, style: Vectors) -> Tensor:
        """Return features of the same shape as `features`."""
        return self.normalize(features) * self.scale(content, style) + self.shift(content, style)


class SoftAdaLinBlock(nn.Module):
    """A residual block of two convolutions with soft AdaLIN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_convolution(channels, channels) for _ in range(2))
        self.norms = nn.ModuleList(SoftAdaLin(channels) for _ in range(2))

    def forward(self, features: Tensor, content: Vectors, style: Vectors) -> Tensor:
        """Return features of the same shape as `features`."""
        (conv1, conv2), (norm1, norm2) = self.convolutions, self.norms
        return features + norm2(conv2(norm1(conv1(features), content, style).relu()), content, style)


class Cam(nn.Module):
    """Class activation maps (CAM): weight the channels of features by their importance to two linear classifiers.

    The input of one classifier is the mean of each channel over the image; the input of the other is the maximum. The
    features are multiplied by the weights of each classifier, channel by channel. A convolution merges the two results.

    Args:
        channels: channels of input and output.
        spectral: apply spectral norm to the classifiers.
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.by_mean, self.by_max = (nn.Linear(channels, 1, bias=not spectral) for _ in range(2))
        if spectral:
            spectral_norm(self.by_mean)
            spectral_norm(self.by_max)
        self.merge = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, CamLogits]:
        """Return features of the same shape as `features`, and the logits of both classifiers."""
        logits, weighted = [], []
        for head, pooled in ((self.by_mean, features.mean((2, 3))), (self.by_max, features.amax((2, 3)))):
            logits.append(head(pooled))
            weight = next(head.parameters())  # before spectral norm, as in the code of both U-GAT-IT and photo2cartoon
            weighted.append(features * weight[:, :, None, None])
        return self.merge(torch.cat(weighted, 1)), torch.cat(logits, 1)


class UgatitGenerator(nn.Module):
    """Stylize images; height and width must be multiples of 16.

    Args:
        base_channels: channels of the features at full size.
        num_res_blocks: number of residual blocks in the encoder; the decoder has the same number.
        size_px: height and width of the images; determines the number and depth of the hourglasses.
    """

    def __init__(self, base_channels: int, num_res_blocks: int, size_px: int) -> None:
        super().__init__()
        num_hourglasses = scale_count(NUM_HOURGLASSES, size_px)
        levels, bottleneck = scale_count(HOURGLASS_LEVELS, size_px), 4 * base_channels
        down: list[nn.Module] = [_convolution(3, base_channels, 7), nn.InstanceNorm2d(base_channels), nn.ReLU()]
        down += [ImageHourglass(base_channels, levels) for _ in range(num_hourglasses // 2)]
        up: list[nn.Module] = []
        for inputs in (base_channels, 2 * base_channels):
            down += [_convolution(inputs, 2 * inputs, 3, 2), nn.InstanceNorm2d(2 * inputs), nn.ReLU()]
        for inputs in (bottleneck, 2 * base_channels):
            up += [nn.Upsample(scale_factor=2), _convolution(inputs, inputs // 2), Lin(inputs // 2), nn.ReLU()]
        up += [ImageHourglass(base_channels, levels) for _ in range((num_hourglasses - 1) // 2)]
        up += [_hourglass(base_channels, levels), nn.Conv2d(base_channels, 3, 1), _convolution(3, 3, 7), nn.Tanh()]
        self.down = nn.Sequential(*down)
        self.encoders = nn.ModuleList(ResnetBlock(bottleneck, bias=False) for _ in range(num_res_blocks))
        self.cam = Cam(bottleneck, spectral=False)
        self.style = nn.Sequential(
            nn.Linear(bottleneck, bottleneck), nn.ReLU(), nn.Linear(bottleneck, bottleneck), nn.ReLU()
        )
        self.decoders = nn.ModuleList(SoftAdaLinBlock(bottleneck) for _ in range(num_res_blocks))
        self.up = nn.Sequential(*up)

    def forward_with_cam(self, images: Images) -> tuple[Images, CamLogits]:
        """Return stylized images in [-1, 1], and the logits of the two CAM classifiers.

        A high logit means that the image is from the source domain, from which the generator translates.
        """
        current, contents = self.down(images), []
        for encoder in self.encoders:
            current = encoder(current)
            contents.append(current.mean((2, 3)))
        current, logits = self.cam(current)
        current = current.relu()
        style = self.style(current.mean((2, 3)))
        for decoder in self.decoders:
            current = decoder(current, contents.pop(), style)
        return self.up(current), logits

    def forward(self, images: Images) -> Images:
        """Return stylized images in [-1, 1]."""
        return self.forward_with_cam(images)[0]

    @torch.no_grad()
    def clip_mixing_weights(self) -> None:
        """Clip two kinds of weights to [0, 1].

        They are `rho` of each `InstanceLayerNorm`, and `content_weight` of each `AffineParameter`.
        """
        for name, weights in self.named_parameters():
            if name.endswith(("rho", "content_weight")):
                weights.clamp_(0, 1)


class CamDiscriminator(nn.Module):
    """Classify each patch of an image. CAM classifiers also classify the whole image.

    Args:
        base_channels: channels of the first layer.
        levels: number of downsamplings, which determines the size of the patches.
    """

    def __init__(self, base_channels: int, levels: int) -> None:
        super().__init__()
        channels = [3, *(base_channels * 2**level for level in range(levels + 1))]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(pairwise(channels)):
            stride = 2 if index < levels else 1
            layers += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride, 1, padding_mode="reflect"))]
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.cam = Cam(channels[-1], spectral=True)
        self.last = spectral_norm(nn.Conv2d(channels[-1], 1, 4, 1, 1, bias=False, padding_mode="reflect"))

    def forward(self, images: Images) -> tuple[PatchLogits, CamLogits]:
        """Return the logits of the patches and of the CAM classifiers, high for real images."""
        features, logits = self.cam(self.layers(images))
        return self.last(nn.functional.leaky_relu(features, 0.2)), logits


class GlobalLocalDiscriminator(nn.Module):
    """The global discriminator, which classifies large patches, and the local one, which classifies small patches."""

    def __init__(self, base_channels: int, size_px: int) -> None:
        super().__init__()
        self.large, self.small = (
            CamDiscriminator(base_channels, scale_count(levels, size_px)) for levels in (GLOBAL_LEVELS, LOCAL_LEVELS)
        )

    def forward(self, images: Images) -> list[Tensor]:
        """Return four tensors: patch logits and CAM logits of the global, then of the local discriminator."""
        return [*self.large(images), *self.small(images)]
