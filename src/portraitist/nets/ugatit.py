"""U-GAT-IT's networks (Kim et al., ICLR 2020) in the form of minivision-ai/photo2cartoon (MIT), its `light` one.

Their width is a parameter, 32 for both at photo2cartoon; four blocks each way. What it has so many of at 256 px, this
has fewer of for smaller pictures: `fewer`.
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

Logits = Float[Tensor, "batch 2"]
Vectors = Float[Tensor, "batch channels"]
HOURGLASSES, LEVELS, FAR, NEAR = 4, 4, 5, 3  # at 256 px; the last two and the levels are halvings
MOST_PX, LEAST_PX = 256, 32
LEAST_WIDTH = 4  # an hourglass has quarters of it
EPSILON = 1e-5


def fewer(most: int, side_px: int) -> int:
    """So many at 256 px, less with each halving down to 32 px, in proportion; one at least."""
    return max(1, round(most * min(1, math.log2(side_px / LEAST_PX) / math.log2(MOST_PX / LEAST_PX))))


def _convolution(inside: int, outside: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False, padding_mode="reflect")


class Branches(nn.Module):
    """Three convolutions in a row; what each gives, beside each other, is added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        parts = [width, width // 2, width // 4, width - width // 2 - width // 4]
        self.convolutions = nn.ModuleList(map(_convolution, parts, parts[1:]))
        self.norms = nn.ModuleList(map(nn.InstanceNorm2d, parts[:-1]))

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        current, found = features, []
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            current = convolution(norm(current).relu())
            found.append(current)
        return features + torch.cat(found, 1)


class Hourglass(nn.Module):
    """Features at this size, and what an hourglass inside makes of them at half of it."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.here = Branches(width)
        inside = Hourglass(width, levels - 1) if levels > 1 else Branches(width)
        parts = [Branches(width), inside, Branches(width)]
        self.smaller = nn.Sequential(nn.AvgPool2d(2), *parts, nn.Upsample(scale_factor=2))

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return self.here(features) + self.smaller(features)


def _hourglass(width: int, levels: int) -> nn.Sequential:
    parts = [Hourglass(width, levels), Branches(width), _convolution(width, width, 1)]
    return nn.Sequential(*parts, nn.InstanceNorm2d(width), nn.ReLU())


class Sketch(nn.Module):
    """An hourglass that draws a picture; it and the picture are added to what came in."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.hourglass = _hourglass(width, levels)
        self.picture = nn.Conv2d(width, 3, 1)
        self.same, self.back = nn.Conv2d(width, width, 1), nn.Conv2d(3, width, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        drawn = self.hourglass(features)
        return features + self.same(drawn) + self.back(self.picture(drawn))


def _normed(features: Tensor, over: tuple[int, ...]) -> Tensor:
    variance, mean = torch.var_mean(features, over, keepdim=True)
    return (features - mean) / (variance + EPSILON).sqrt()


class Norm(nn.Module):
    """Of each channel a share, `rho`, by instance norm, the rest by layer norm."""

    def __init__(self, width: int, rho: float) -> None:
        super().__init__()
        self.rho = nn.Parameter(torch.full((width, 1, 1), rho))

    def blended(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return self.rho * _normed(features, (2, 3)) + (1 - self.rho) * _normed(features, (1, 2, 3))


class Lin(Norm):
    """The norm, then a scale and a shift for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 0.0)
        self.scale, self.shift = nn.Parameter(torch.ones(width, 1, 1)), nn.Parameter(torch.zeros(width, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return self.blended(features) * self.scale + self.shift


class Statistic(nn.Module):
    """A number for each channel: by the style, and by the selfie's own content to the share that is learned."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.zeros(width))
        self.content = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))
        self.style = nn.Linear(width, width)

    def forward(self, content: Vectors, style: Vectors) -> Float[Tensor, "batch channels 1 1"]:
        """Shaped as a scale of features."""
        mixed = (1 - self.share) * self.style(style) + self.share * self.content(content)
        return mixed[:, :, None, None]


class SoftAdaLin(Norm):
    """The norm, then a scale and a shift that style and content say."""

    def __init__(self, width: int) -> None:
        super().__init__(width, 0.9)
        self.scale, self.shift = Statistic(width), Statistic(width)

    def forward(self, features: Tensor, content: Vectors, style: Vectors) -> Tensor:
        """Features of the same shape."""
        return self.blended(features) * self.scale(content, style) + self.shift(content, style)


class SoftBlock(nn.Module):
    """Two convolutions added to what came in, in the style."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_convolution(width, width) for _ in range(2))
        self.norms = nn.ModuleList(SoftAdaLin(width) for _ in range(2))

    def forward(self, features: Tensor, content: Vectors, style: Vectors) -> Tensor:
        """Features of the same shape."""
        (first, second), (norm, last) = self.convolutions, self.norms
        return features + last(second(norm(first(features), content, style).relu()), content, style)


class Cam(nn.Module):
    """Two judgements, by the features' means and by their maxima; features weighed as they were for these (CAM)."""

    def __init__(self, width: int, *, spectral: bool) -> None:
        super().__init__()
        self.by_mean, self.by_peak = (nn.Linear(width, 1, bias=not spectral) for _ in range(2))
        if spectral:
            spectral_norm(self.by_mean)
            spectral_norm(self.by_peak)
        self.merge = nn.Conv2d(2 * width, width, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Logits]:
        """Features of the same shape, and the judgements."""
        logits, weighed = [], []
        for head, pooled in ((self.by_mean, features.mean((2, 3))), (self.by_peak, features.amax((2, 3)))):
            logits.append(head(pooled))
            weight = next(head.parameters())  # as it is without its spectral norm, in all the authors' codes
            weighed.append(features * weight[:, :, None, None])
        return self.merge(torch.cat(weighed, 1)), torch.cat(logits, 1)


class UgatitGenerator(nn.Module):
    """Images to images of the same size, a multiple of sixteen; `blocks` are those of each way."""

    def __init__(self, width: int, blocks: int, side_px: int) -> None:
        super().__init__()
        count, levels, widest = fewer(HOURGLASSES, side_px), fewer(LEVELS, side_px), 4 * width
        down: list[nn.Module] = [_convolution(3, width, 7), nn.InstanceNorm2d(width), nn.ReLU()]
        down += [Sketch(width, levels) for _ in range(count // 2)]
        up: list[nn.Module] = []
        for inside in (width, 2 * width):
            down += [_convolution(inside, 2 * inside, 3, 2), nn.InstanceNorm2d(2 * inside), nn.ReLU()]
        for inside in (widest, 2 * width):
            up += [nn.Upsample(scale_factor=2), _convolution(inside, inside // 2), Lin(inside // 2), nn.ReLU()]
        up += [Sketch(width, levels) for _ in range((count - 1) // 2)]
        up += [_hourglass(width, levels), nn.Conv2d(width, 3, 1), _convolution(3, 3, 7), nn.Tanh()]
        self.down = nn.Sequential(*down)
        self.encoders = nn.ModuleList(ResnetBlock(widest, bias=False) for _ in range(blocks))
        self.cam = Cam(widest, spectral=False)
        self.style = nn.Sequential(nn.Linear(widest, widest), nn.ReLU(), nn.Linear(widest, widest), nn.ReLU())
        self.decoders = nn.ModuleList(SoftBlock(widest) for _ in range(blocks))
        self.up = nn.Sequential(*up)

    def judged(self, images: Images) -> tuple[Images, Logits]:
        """Painted images, in [-1, 1], and what the images are taken for: high says of the kind that is painted."""
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
        """Painted images, in [-1, 1]."""
        return self.judged(images)[0]

    @torch.no_grad()
    def bound(self) -> None:
        """Bring every share of a mixture back into [0, 1]."""
        for name, weights in self.named_parameters():
            if name.endswith(("rho", "share")):
                weights.clamp_(0, 1)


class CamDiscriminator(nn.Module):
    """Images to a map of judgements, one for each patch, and two of the whole."""

    def __init__(self, width: int, halved: int) -> None:
        super().__init__()
        widths = [3, *(width * 2**place for place in range(halved + 1))]
        layers: list[nn.Module] = []
        for place, (inside, outside) in enumerate(pairwise(widths)):
            stride = 2 if place < halved else 1
            layers += [spectral_norm(nn.Conv2d(inside, outside, 4, stride, 1, padding_mode="reflect"))]
            layers += [nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.cam = Cam(widths[-1], spectral=True)
        self.last = spectral_norm(nn.Conv2d(widths[-1], 1, 4, 1, 1, bias=False, padding_mode="reflect"))

    def forward(self, images: Images) -> tuple[PatchLogits, Logits]:
        """High says real."""
        features, logits = self.cam(self.layers(images))
        return self.last(nn.functional.leaky_relu(features, 0.2)), logits


class FarAndNear(nn.Module):
    """A discriminator of most of the picture, and one of its patches."""

    def __init__(self, width: int, side_px: int) -> None:
        super().__init__()
        self.far, self.near = (CamDiscriminator(width, fewer(most, side_px)) for most in (FAR, NEAR))

    def forward(self, images: Images) -> list[Tensor]:
        """Both one's judgements."""
        return [*self.far(images), *self.near(images)]
