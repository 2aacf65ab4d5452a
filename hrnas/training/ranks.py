"""The processes that train one network together, as torchrun starts them; without torchrun there is one.

    each its share of the batch -> gradients -> their mean over all processes -> the same step everywhere

So all hold the same weights, bit for bit. torch's DistributedDataParallel adds gradients in groups that it forms anew
after its first step, and the last bits of three or more processes' sums would tell where a run was interrupted; here
they are always added alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from hrnas.reading import UserError

Result = TypeVar("Result")
PATIENCE = timedelta(hours=6)  # the others wait in their next step while the first process evaluates


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is; the first (0) leads: it alone evaluates, speaks, reads and writes the run's
    folder."""

    rank: int = 0
    count: int = 1
    here: int = 1  # how many of them run on this machine

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes; the same bits on each."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.count

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over all processes into each tensor, with one message for all of them."""
        if self.count == 1:
            return
        means = self.mean(torch.cat([tensor.flatten() for tensor in tensors]))
        for tensor, mean in zip(tensors, means.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def lead(self, action: Callable[[], Result]) -> Result:
        """What an action of the first process gives, on all of them; a `UserError` in it is raised on all of them."""
        if self.count == 1:
            return action()
        found: list[Any] = [None, None]
        if self.leads:
            try:
                found[0] = action()
            except UserError as mistake:
                found[1] = mistake
        dist.broadcast_object_list(found)
        result, error = found
        if error is not None:
            raise error
        return result


ALONE = Ranks()


@contextmanager
def join_ranks() -> Iterator[Ranks]:
    """Meet the processes that torchrun started with this one: through nccl on GPUs, one for each; else through gloo.

    Raises:
        UserError: there are more processes than GPUs.
    """
    count = int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if count == 1:
        yield ALONE
        return
    gpus, here = torch.cuda.device_count(), int(os.environ["LOCAL_WORLD_SIZE"])
    if gpus:
        if here > gpus:
            raise UserError(f"torchrun started {here} processes for {gpus} GPU(s); say --nproc-per-node {gpus}")
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if gpus else "gloo", timeout=PATIENCE)
    try:
        yield Ranks(dist.get_rank(), count, here)
    finally:
        dist.destroy_process_group()
