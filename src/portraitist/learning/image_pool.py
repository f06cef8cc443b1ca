"""A pool of generated images."""

import torch
from torch import Tensor, nn


class ImagePool(nn.Module):
    """Paintings of some steps ago: every second one that is asked for comes from there (Shrivastava et al. 2017)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.images: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """As many; while the pool is filling, the same."""
        shown = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image)
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                shown.append(self.images[place].to(image.device))
                self.images[place] = image
                continue
            shown.append(image)
        return torch.stack(shown)

    def get_extra_state(self) -> Tensor:
        """Its images, so that a training goes on with them."""
        return torch.stack(self.images) if self.images else torch.zeros(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what `get_extra_state` gave."""
        self.images = list(state)
