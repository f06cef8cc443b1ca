"""Inception-v3 as it is used for published FID and KID values.

The network and the resizing of its input are those of TensorFlow, ported to PyTorch by torch-fidelity.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from portraitist.learning.tensors import Images, to_pictures

NAME = "Inception-v3 of 2015-12-05, last pooling"
RESIZE = "299 px, TensorFlow 1's bilinear"


class Inception:
    """Compute the 2048 features of Inception-v3's last pooling layer.

    Args:
        weights: torch-fidelity's file of weights. Verify its SHA-256 first: loading the file can execute code from it.
    """

    def __init__(self, weights: Path) -> None:
        self.net = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=str(weights))

    @torch.no_grad()
    def pooled(self, images: Images) -> Float[Tensor, "batch 2048"]:
        """Return the features of images in [-1, 1]. Pixels are first rounded to integers from 0 to 255."""
        pictures = torch.stack([torch.from_numpy(picture) for picture in to_pictures(images)])
        return self.net(pictures.permute(0, 3, 1, 2))[0]
