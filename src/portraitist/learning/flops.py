"""What one avatar costs, in numbers that no machine changes: operations and weights. Seconds: benchmarks/avatar.py."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from portraitist.methods.base import Method


def inference_cost(painter: Method, side_px: int) -> dict[str, float]:
    """For one picture of a side: `gflop`, a multiplication and an addition as two, and `megabytes` of weights."""
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        painter.paint(torch.zeros(1, 3, side_px, side_px), torch.ones(1, 1, side_px, side_px))
    weights = [tensor for name in painter.saved_modules for tensor in getattr(painter, name).state_dict().values()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in weights)
    return {"gflop": float(f"{counter.get_total_flops() / 1e9:.6g}"), "megabytes": float(f"{size / 1e6:.6g}")}
