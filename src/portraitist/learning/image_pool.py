"""A buffer of images that a generator produced in earlier training steps."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """A buffer of images that a generator produced earlier.

    A discriminator is trained on these images too, not only on the newest ones (Shrivastava et al., CVPR 2017).

    While the pool is not full, each new image is stored and returned. Once the pool is full, a new image is returned
    with probability 1/2. Otherwise it replaces a random image of the pool, and the replaced image is returned.

    Args:
        size: largest number of images in the pool.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.images: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """Return a batch of the same shape as `images`. It contains new images, and images from earlier steps.

        Args:
            images: (batch, channels, height, width), without gradients.
        """
        chosen = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image)
            elif torch.rand(()) < 0.5:
                index = int(torch.randint(self.size, ()))
                chosen.append(self.images[index].to(image.device))
                self.images[index] = image
                continue
            chosen.append(image)
        return torch.stack(chosen)

    def get_extra_state(self) -> Tensor:
        """Return the pool's images for the module's state dict, so that a resumed training continues with them."""
        # after `set_extra_state`, earlier images are on the CPU, while new ones are on the training's device
        return torch.stack([image.cpu() for image in self.images]) if self.images else torch.zeros(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the images returned by `get_extra_state`."""
        self.images = list(state)
