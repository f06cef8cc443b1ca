"""Face recognition by an ONNX network that the user provides, with the same input as ArcFace."""

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from portraitist.crop.params import CropParams
from portraitist.learning.tensors import Images

SIDE = 112  # px
EYES = (56.0, 51.6)  # x, y of the midpoint of the eyes in ArcFace's template, in px (Deng et al., 2019)
MOUTH = 92.3  # y of the mouth in ArcFace's template, in px


class IdentityError(ValueError):
    """The file is not a network with ArcFace's input, or the folder has several files."""


class Identity:
    """Embeddings of aligned crops.

    The network takes (batch, 3, 112, 112) of RGB in [-1, 1] and returns (batch, length).
    """

    def __init__(self, path: Path, crop_params: CropParams) -> None:
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise IdentityError(f"{path}: cannot be opened by ONNX Runtime: {error}") from error
        (first, *others), outputs = self.session.get_inputs(), self.session.get_outputs()
        if others or len(outputs) != 1 or list(first.shape[1:]) != [3, SIDE, SIDE] or len(outputs[0].shape) != 2:
            shapes = [array.shape for array in [first, *others, *outputs]]
            raise IdentityError(
                f"{path}: expected one input (n, 3, {SIDE}, {SIDE}) and one output (n, length), found {shapes}"
            )
        self.input, self.crop_params = first.name, crop_params
        self.name = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"

    def faces(self, images: Images) -> Float[Tensor, "batch 3 112 112"]:
        """Resample crops so that eyes and mouth are where ArcFace expects them, with antialiasing."""
        side = images.shape[-1]
        scale = (MOUTH - EYES[1]) / (self.crop_params.eye_to_mouth * side)  # pixels of the face per pixel of the crop
        if scale < 1:
            images = F.interpolate(
                images, scale_factor=scale, mode="bicubic", antialias=True, recompute_scale_factor=True
            )
        # position of each pixel of the face in the crop, from -1 to 1
        centers = torch.arange(SIDE) + 0.5
        x = ((centers - EYES[0]) / (scale * side) + 0.5) * 2 - 1
        y = ((centers - EYES[1]) / (scale * side) + self.crop_params.eye_line) * 2 - 1
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
        return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False)

    def pooled(self, images: Images) -> Float[np.ndarray, "batch length"]:
        """Return the embeddings of crops."""
        return self.session.run(None, {self.input: self.faces(images).numpy()})[0]


def find_network(folder: Path) -> Path | None:
    """Return the path of the ONNX network in a folder; None if there is none.

    Raises:
        IdentityError: the folder has several networks.
    """
    paths = sorted(folder.glob("*.onnx"))
    if len(paths) > 1:
        raise IdentityError(f"{folder} contains {', '.join(path.name for path in paths)}; keep only one network there")
    return paths[0] if paths else None
