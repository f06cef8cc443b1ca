"""Data-parallel training: each process handles its share of every batch; gradients and statistics are averaged.

`torchrun` starts the processes and sets their environment variables. Without it, there is one process with rank 0, and
the functions of this module do not communicate.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import Function

TIMEOUT = timedelta(minutes=10)  # longer than any work that one process does alone, such as writing a model


class DistributedError(RuntimeError):
    """The batch cannot be divided among the processes, or a process is lost."""


@contextmanager
def process_group() -> Iterator[None]:
    """Connect the processes that torchrun started; do nothing if there is only one.

    Raises:
        DistributedError: a process was lost or did not answer in time.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Return the index of this process; rank 0 writes all files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_batch_size(batch_size: int) -> int:
    """Return the number of pictures of a batch that each process handles.

    The shares are equal, so that the mean of the processes' means is the mean over the batch.

    Raises:
        DistributedError: `batch_size` is not a multiple of the number of processes.
    """
    if batch_size % world_size():
        raise DistributedError(
            f"batch_size is {batch_size}; with {world_size()} processes it must be a multiple of {world_size()}"
        )
    return batch_size // world_size()


def broadcast(value: Any) -> Any:
    """Return the value of rank 0 in every process.

    Raises:
        DistributedError: a process is lost.
    """
    values = [value]
    if world_size() > 1:
        with _communication():
            distributed.broadcast_object_list(values, src=0)
    return values[0]


@torch.no_grad()
def all_reduce_mean(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor in place by its mean over all processes. All tensors are sent in one message.

    Raises:
        DistributedError: a process is lost.
    """
    if world_size() > 1:
        flat = _all_reduce_mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def differentiable_mean(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes; gradients flow back to each of them.

    Raises:
        DistributedError: a process is lost.
    """
    return _DifferentiableMean.apply(tensor) if world_size() > 1 else tensor


class _DifferentiableMean(Function):
    """The mean over processes is linear and symmetric, so its backward pass is the mean of the gradients."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return _all_reduce_mean(tensor.clone())

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _all_reduce_mean(gradient.clone())


def _all_reduce_mean(tensor: Tensor) -> Tensor:
    with _communication():
        distributed.all_reduce(tensor)
    return tensor / world_size()


@contextmanager
def _communication() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise DistributedError(f"a training process is lost ({reason}); restart the training") from error
