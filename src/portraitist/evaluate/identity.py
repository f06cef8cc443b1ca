"""Face recognition by an ONNX network that the user provides. The network must take the same input as ArcFace."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from portraitist.learning.tensors import Images

SIDE = 112  # height and width of the network's input, in pixels
EYES = (56.0, 51.6)  # x and y of the midpoint of the eyes in ArcFace's input, in pixels (Deng et al., 2019)
MOUTH = 92.3  # y of the mouth in ArcFace's input, in pixels


class IdentityError(ValueError):
    """The file is not a network with ArcFace's input, or the folder contains several networks."""


class Identity:
    """Compute embeddings of faces with the user's network.

    The network must take (batch, 3, 112, 112), RGB in [-1, 1], and return one embedding per face, (batch, length).

    Args:
        path: the ONNX file.

    Raises:
        IdentityError: the file is not such a network.
    """

    def __init__(self, path: Path) -> None:
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise IdentityError(
                f"{path}: ONNX Runtime cannot open the face recognition network: {error}; replace or remove the file"
            ) from error
        (first, *others), outputs = self.session.get_inputs(), self.session.get_outputs()
        if others or len(outputs) != 1 or list(first.shape[1:]) != [3, SIDE, SIDE] or len(outputs[0].shape) != 2:
            shapes = [array.shape for array in [first, *others, *outputs]]
            raise IdentityError(
                f"{path}: a face recognition network must have one input (n, 3, {SIDE}, {SIDE}) and one output "
                f"(n, length); found the shapes {shapes}; replace or remove the file"
            )
        self.input = first.name
        self.name = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"

    def pooled(self, images: Float[Tensor, "batch 3 112 112"]) -> Float[np.ndarray, "batch length"]:
        """Return the embedding of each face; `align_face` returns such images."""
        return self.session.run(None, {self.input: images.numpy()})[0]


def align_face(image: Images, eye_line: float, eye_to_mouth: float) -> Float[Tensor, "1 3 112 112"]:
    """Resample a face crop, antialiased, so that eyes and mouth are where ArcFace expects them.

    Args:
        image: the square crop in [-1, 1], (1, 3, side, side).
        eye_line: distance of the eyes from the top of the crop, as a fraction of its side.
        eye_to_mouth: distance from the eyes to the mouth, as a fraction of the side.
    """
    side = image.shape[-1]
    scale = (MOUTH - EYES[1]) / (eye_to_mouth * side)  # ArcFace's pixels per pixel of the crop
    if scale < 1:
        image = F.interpolate(image, scale_factor=scale, mode="bicubic", antialias=True, recompute_scale_factor=True)
    # for each pixel of the result, the position in the crop from which it is sampled; borders of the crop: -1 and 1
    centers = torch.arange(SIDE) + 0.5
    x = ((centers - EYES[0]) / (scale * side) + 0.5) * 2 - 1
    y = ((centers - EYES[1]) / (scale * side) + eye_line) * 2 - 1
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    return F.grid_sample(image, grid[None], padding_mode="border", align_corners=False)


def find_network(folder: Path) -> Path | None:
    """Return the path of the ONNX file in a folder; None if the folder has no ONNX file.

    Raises:
        IdentityError: the folder has several networks.
    """
    paths = sorted(folder.glob("*.onnx"))
    if len(paths) > 1:
        names = ", ".join(path.name for path in paths)
        raise IdentityError(f"{folder} contains several face recognition networks: {names}; keep only one of them")
    return paths[0] if paths else None
