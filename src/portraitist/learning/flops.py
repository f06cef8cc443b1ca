"""Cost of one avatar in operations and bytes, independent of the machine. benchmarks/avatar.py measures seconds."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from portraitist.learning.tensors import Images, Masks


def inference_cost(
    paint: Callable[[Images, Masks], Images], weights: Mapping[str, Mapping[str, Tensor]], side_px: int
) -> dict[str, float]:
    """Measure the cost of painting one square image.

    Args:
        paint: the function `Method.paint` of the method whose cost is measured.
        weights: the state dict of each network, by the network's name.
        side_px: height and width of the image.

    Returns:
        A dictionary with two keys. `gflop` is the number of floating-point operations in units of 1e9; a multiply-add
        counts as two operations. `megabytes` is the size of the weights in units of 1e6 bytes.
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        paint(torch.zeros(1, 3, side_px, side_px), torch.ones(1, 1, side_px, side_px))
    size = sum(tensor.numel() * tensor.element_size() for state in weights.values() for tensor in state.values())
    return {"gflop": float(f"{counter.get_total_flops() / 1e9:.6g}"), "megabytes": float(f"{size / 1e6:.6g}")}
