"""One training by several processes, on one machine or many: each learns from its share of a batch, all move alike.

`torchrun` starts them and tells them who they are. A process that was started without is rank 0 of 1, and asks nobody.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import Function

WAIT = timedelta(minutes=10)  # for the others; longer than any of them is busy alone, to read or to write


class DistributedError(RuntimeError):
    """The processes cannot share the work, or one of them is lost."""


@contextmanager
def process_group() -> Iterator[None]:
    """Inside, the processes that torchrun started know each other.

    Raises:
        RanksError: One of them was lost, or answered no more.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=WAIT)
    try:
        yield
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    """Which of the processes this one is; 0 speaks for all."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def local_batch_size(batch: int) -> int:
    """How many pictures of a batch are this process's: as many as everybody's, so that a mean of means is the mean.

    Raises:
        RanksError: The batch cannot be shared out evenly.
    """
    if batch % world_size():
        raise DistributedError(
            f"a batch of {batch} cannot be shared by {world_size()} processes; a multiple of {world_size()} can"
        )
    return batch // world_size()


def broadcast(word: Any) -> Any:
    """What rank 0 says, whatever the others would.

    Raises:
        RanksError: A process is lost.
    """
    words = [word]
    if world_size() > 1:
        with _talking():
            distributed.broadcast_object_list(words, src=0)
    return words[0]


@torch.no_grad()
def all_reduce_mean(tensors: Sequence[Tensor]) -> None:
    """Each tensor becomes its mean over all processes; one message for all of them.

    Raises:
        RanksError: A process is lost.
    """
    if world_size() > 1:
        flat = _mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def differentiable_mean(tensor: Tensor) -> Tensor:
    """The tensor's mean over all processes; the gradient finds its way back to each of them.

    Raises:
        RanksError: A process is lost.
    """
    return _Mean.apply(tensor) if world_size() > 1 else tensor


class _Mean(Function):
    """Each process adds to the mean what it has, so its gradient is the mean of theirs."""

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        return _mean(tensor.clone())

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        return _mean(gradient.clone())


def _mean(tensor: Tensor) -> Tensor:
    with _talking():
        distributed.all_reduce(tensor)
    return tensor / world_size()


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise DistributedError(
            f"another process is lost ({str(error).splitlines()[0]}); start all of them again"
        ) from error
