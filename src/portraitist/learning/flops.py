"""Machine-independent cost of one avatar: operations and weights. benchmarks/avatar.py measures seconds."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from portraitist.learning.tensors import Images, Masks


def inference_cost(
    paint: Callable[[Images, Masks], Images], weights: Mapping[str, Mapping[str, Tensor]], side_px: int
) -> dict[str, float]:
    """Measure the cost of painting one square picture of `side_px`; `weights` holds the state dict of each network.

    Returns:
        `gflop` (a multiply-add counts as two operations) and `megabytes` (of weights).
    """
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        paint(torch.zeros(1, 3, side_px, side_px), torch.ones(1, 1, side_px, side_px))
    size = sum(tensor.numel() * tensor.element_size() for state in weights.values() for tensor in state.values())
    return {"gflop": float(f"{counter.get_total_flops() / 1e9:.6g}"), "megabytes": float(f"{size / 1e6:.6g}")}
