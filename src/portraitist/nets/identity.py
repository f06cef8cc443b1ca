"""A face network of the user's choice, as ONNX, that tells people apart: any that takes a face as ArcFace does."""

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
EYES, MOUTH = (
    (56.0, 51.6),
    92.3,
)  # the middle of both eyes, and the mouth's height, in ArcFace's face (Deng et al. 2019)


class IdentityError(ValueError):
    """The file is no network that takes a face as ArcFace does."""


class Identity:
    """Embeddings of crops. The network takes batch x 3 x 112 x 112 of RGB in [-1, 1] and gives one row a face."""

    def __init__(self, path: Path, frame: CropParams) -> None:
        try:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise IdentityError(f"{path}: not a network that ONNX Runtime opens ({error})") from error
        (first, *others), outputs = self.session.get_inputs(), self.session.get_outputs()
        if others or len(outputs) != 1 or list(first.shape[1:]) != [3, SIDE, SIDE] or len(outputs[0].shape) != 2:
            shapes = [found.shape for found in [first, *others, *outputs]]
            raise IdentityError(
                f"{path}: one input of n x 3 x {SIDE} x {SIDE}, one output of n x length; found {shapes}"
            )
        self.input, self.frame = first.name, frame
        self.name = f"{path.name}, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"

    def faces(self, images: Images) -> Float[Tensor, "batch 3 112 112"]:
        """Crops as ArcFace's faces: eyes and mouth where it has them, antialiased."""
        side = images.shape[-1]
        scale = (MOUTH - EYES[1]) / (self.frame.eye_to_mouth * side)  # of the crop's pixels
        if scale < 1:
            images = F.interpolate(
                images, scale_factor=scale, mode="bicubic", antialias=True, recompute_scale_factor=True
            )
        # where each pixel of the face lies in the crop, from -1 to 1
        spots = torch.arange(SIDE) + 0.5
        across = ((spots - EYES[0]) / (scale * side) + 0.5) * 2 - 1
        down = ((spots - EYES[1]) / (scale * side) + self.frame.eye_line) * 2 - 1
        grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)
        return F.grid_sample(images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False)

    def pooled(self, images: Images) -> Float[np.ndarray, "batch length"]:
        """The embeddings of crops."""
        return self.session.run(None, {self.input: self.faces(images).numpy()})[0]


def find_network(folder: Path) -> Path | None:
    """The one network that the user has put into a folder.

    Raises:
        IdentityError: There are several.
    """
    found = sorted(folder.glob("*.onnx"))
    if len(found) > 1:
        raise IdentityError(f"{folder} holds {', '.join(path.name for path in found)}; one of them must go")
    return found[0] if found else None
