"""Data-parallel training: each process handles its share of every batch.

Gradients, loss values and the statistics of batch norms are averaged over the processes.

`torchrun` starts the processes and sets their environment variables. Without `torchrun`, there is one process with
rank 0, and the functions of this module send no messages.
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
    """The batch cannot be divided among the processes, or another process has stopped or does not answer."""


@contextmanager
def process_group() -> Iterator[None]:
    """Return a context manager that connects the processes that torchrun started.

    It does nothing if there is only one process.
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
    """Return the index of this process among all processes. Only the process with rank 0 writes files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_batch_size(batch_size: int) -> int:
    """Return the number of selfies that one process handles in each step. The number of portraits is the same.

    All processes handle the same number of pictures. Each process computes the mean loss of its pictures. The mean of
    these losses over all processes is therefore the mean loss of the whole batch.

    Args:
        batch_size: number of selfies in the batch of all processes. The number of portraits is the same.

    Raises:
        DistributedError: `batch_size` is not a multiple of the number of processes.
    """
    if batch_size % world_size():
        raise DistributedError(
            f"the stage's batch_size is {batch_size}; with {world_size()} processes it must be a multiple of "
            f"{world_size()}: set train.batch_size, train_generator.batch_size or train_mask.batch_size in params.yaml"
        )
    return batch_size // world_size()


def broadcast(value: Any) -> Any:
    """Send `value` from rank 0 to all processes, and return it; the argument of other processes is ignored.

    Raises:
        DistributedError: another process has stopped, or did not answer within `TIMEOUT`.
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
        DistributedError: another process has stopped, or did not answer within `TIMEOUT`.
    """
    if world_size() > 1:
        flat = _all_reduce_mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def differentiable_mean(tensor: Tensor) -> Tensor:
    """Return the mean of a tensor over all processes; gradients flow back to every process.

    Raises:
        DistributedError: another process has stopped, or did not answer within `TIMEOUT`.
    """
    return _DifferentiableMean.apply(tensor) if world_size() > 1 else tensor


class _DifferentiableMean(Function):
    """The mean of a tensor over processes. Its gradient is the mean of the gradients over processes."""

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
        raise DistributedError(
            f"another training process stopped or did not answer ({reason}); run the same command again to resume"
        ) from error
