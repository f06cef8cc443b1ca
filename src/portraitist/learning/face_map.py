"""A map of the face in a crop.

Crops are square and aligned by eyes and mouth. All crops of the same size therefore have the same map.
"""

import torch
from jaxtyping import Float
from torch import Tensor

SKIN = 0.6  # maximum of the map on the rest of the face, such as nose and cheeks
# Gaussians as (x, y, horizontal standard deviation, vertical standard deviation). The origin is the midpoint of the
# eyes. The unit is the distance from eyes to mouth, which is about the distance between the eyes.
EYES_AND_MOUTH = ((-0.5, 0.0, 0.275, 0.2), (0.5, 0.0, 0.275, 0.2), (0.0, 1.0, 0.375, 0.225))
FACE = (0.0, 0.3, 0.75, 0.9)


def face_map(height: int, width: int, eye_line: float, eye_to_mouth: float) -> Float[Tensor, "1 1 height width"]:
    """Return a soft map of the face: 1 at eyes and mouth, about 0.6 on nose, cheeks and forehead, 0 far from the face.

    Args:
        height: number of rows.
        width: number of columns.
        eye_line: distance from the top of the crop to the eyes, as a fraction of the crop's height.
        eye_to_mouth: distance from the eyes to the mouth, as a fraction of the crop's height.
    """
    rows = ((torch.arange(height) + 0.5) / height - eye_line)[:, None] / eye_to_mouth
    columns = ((torch.arange(width) + 0.5) / width - 0.5) / eye_to_mouth

    def gaussian(x: float, y: float, sigma_x: float, sigma_y: float) -> Tensor:
        return torch.exp(-(((columns - x) / sigma_x) ** 2 + ((rows - y) / sigma_y) ** 2) / 2)

    layers = [SKIN * gaussian(*FACE), *(gaussian(*ellipse) for ellipse in EYES_AND_MOUTH)]
    return torch.stack(layers).amax(0)[None, None]
