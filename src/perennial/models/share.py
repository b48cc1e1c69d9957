"""The share of a process in a training of several: each computes a part of every batch, and all make the same step.

The batches are those of a training in one process, cut as `torch.utils.data.DistributedSampler` cuts a data set. A
loss is weighted by its rows, so that the mean over the processes is the loss of the whole batch: learning rate, number
of steps and epochs mean the same, and only the order of sums and what dropout leaves out are others.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

Loss = tuple[Tensor, int]
"""Mean loss and number of rows of a batch."""


class Share:
    """This process among those of the group of `torch.distributed`; the only one where there is no group."""

    def __init__(self) -> None:
        grouped = dist.is_available() and dist.is_initialized()
        self.rank, self.size = (dist.get_rank(), dist.get_world_size()) if grouped else (0, 1)

    def of(self, batch: Tensor) -> tuple[Tensor, float]:
        """Return the own rows of a batch, and the weight of their mean loss."""
        if self.size == 1:
            return batch, 1.0
        own = batch[self.rank :: self.size]
        if len(own) == 0:  # each process takes part in each step
            return batch[:1], 0.0
        return own, len(own) * self.size / len(batch)

    def seeded(self, seed: int) -> None:
        """Let dropout of each process leave out other units, once the network is built."""
        if self.size > 1:
            torch.manual_seed(int(np.random.SeedSequence([abs(seed), self.rank]).generate_state(1)[0]))

    def mean(self, value: float) -> float:
        """Return the mean of a number over the processes."""
        return self._agreed(value, lambda given: dist.all_reduce(given)) / self.size

    def first(self, value: float) -> float:
        """Return the number of the first process: all must stop at the same epoch, whatever their rounding."""
        return self._agreed(value, lambda given: dist.broadcast(given, src=0))

    def _agreed(self, value: float, exchange) -> float:
        if self.size == 1:
            return value
        on_gpu = dist.get_backend() == "nccl"
        given = torch.tensor(value, dtype=torch.float64, device="cuda" if on_gpu else "cpu")
        exchange(given)
        return float(given)


class Steps:
    """The losses of the steps of a network, computed so that their gradients are the mean over the processes."""

    def __init__(self, network: nn.Module, share: Share) -> None:
        self._network = DistributedDataParallel(_Step(network)) if share.size > 1 else None

    def of(self, losses: Iterator[Loss]) -> Iterator[Loss]:
        """Yield the losses; each is computed when it is asked for."""
        if self._network is None:
            yield from losses
            return
        while True:
            try:
                loss = self._network(losses)
            except StopIteration:
                return
            yield loss


class _Step(nn.Module):
    """A step of a network as a call: gradients are exchanged after the call of a module only."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, losses: Iterator[Loss]) -> Loss:
        return next(losses)
