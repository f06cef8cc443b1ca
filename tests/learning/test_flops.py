import torch
from torch import nn
from toys import make_trainable

from portraitist.learning.flops import inference_cost


def test_multiply_add_is_two_operations_and_weights_four_bytes():
    convolution = nn.Conv2d(3, 3, 3, padding=1, bias=False)
    cost = inference_cost(lambda images, masks: convolution(images) * masks, {"net": convolution.state_dict()}, 64)
    assert cost["gflop"] == 2 * 3 * 3 * 9 * 64 * 64 / 1e9
    assert cost["megabytes"] == 3 * 3 * 9 * 4 / 1e6


def test_operations_grow_with_the_area_and_weights_do_not():
    method = make_trainable("masked_cartoongan")
    small, large = (inference_cost(method.paint, method.saved_state(), side) for side in (32, 64))
    assert large["megabytes"] == small["megabytes"]
    assert 3.9 < large["gflop"] / small["gflop"] < 4.1
    assert not any(parameter.grad is not None for parameter in method.parameters())
    assert torch.is_grad_enabled()
