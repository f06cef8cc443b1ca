import torch
from torch import nn
from toys import begun

from portraitist.learning.flops import inference_cost


def test_cost_counts_two_operations_a_multiplication_and_the_bytes_of_weights(monkeypatch):
    painter = begun("cartoongan")
    painter.saved_modules = ("one",)
    painter.one = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    monkeypatch.setattr(type(painter), "paint", lambda self, selfies, masks: self.one(selfies) * masks)
    found = inference_cost(painter, 64)
    assert found["gflop"] == 2 * 3 * 5 * 9 * 64 * 64 / 1e9
    assert found["megabytes"] == 3 * 5 * 9 * 4 / 1e6


def test_cost_is_that_of_the_size_painted_at():
    painter = begun("masked_cartoongan")
    small, large = inference_cost(painter, 32), inference_cost(painter, 64)
    assert large["megabytes"] == small["megabytes"]
    assert 3.9 < large["gflop"] / small["gflop"] < 4.1
    assert not any(parameter.grad is not None for parameter in painter.parameters())
    assert torch.is_grad_enabled()
