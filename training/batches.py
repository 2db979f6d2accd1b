"""Training batches in an order that depends on the seed and the step alone, so that a killed run can go on."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from ..data import Dataset
from .tasks import Task


class Pairs(TorchDataset):
    """(x, y) of a task for batches of items; computed once and kept where they fit in ``memory`` bytes."""

    def __init__(self, task: Task, data: Dataset, memory: float):
        self.task, self.count = task, task.items(data)
        x, y = task.pair(data, torch.zeros(1, dtype=torch.long))
        small = (x.nbytes + y.nbytes) * self.count <= memory
        self.data = data
        self.kept: tuple[Tensor, Tensor] | None = task.pair(data, torch.arange(self.count)) if small else None

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.tensor(items)
        if self.kept is not None:
            return self.kept[0][index], self.kept[1][index]
        return self.task.pair(self.data, index)


def whole(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The collate function: a batch is read as one."""
    return batch


class StepBatches(Sampler[list[int]]):
    """Item indices of steps ``start`` .. ``steps`` - 1: epoch after epoch, each a permutation from (seed, epoch).

    With several processes (as torch.distributed tells when the stream begins, or as given) each takes every
    ``world``-th item of a batch. A last batch of fewer than ``world`` items is filled from the front of its epoch.
    """

    def __init__(
        self, count: int, batch_size: int, steps: int, seed: int, rank: int | None = None, world: int | None = None
    ):
        self.count, self.batch_size, self.steps, self.seed = count, min(batch_size, count), steps, seed
        self.rank, self.world, self.start = rank, world, 0

    @property
    def per_epoch(self) -> int:
        return -(-self.count // self.batch_size)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        rank, world = self.rank, self.world
        if rank is None or world is None:
            ready = distributed.is_available() and distributed.is_initialized()
            rank, world = (distributed.get_rank(), distributed.get_world_size()) if ready else (0, 1)
        order: list[int] = []
        epoch = -1
        for step in range(self.start, self.steps):
            if step // self.per_epoch != epoch:
                epoch = step // self.per_epoch
                generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
                order = torch.randperm(self.count, generator=generator).tolist()
            at = (step % self.per_epoch) * self.batch_size
            batch = order[at : at + self.batch_size]
            if len(batch) < world:
                batch = batch + order[: world - len(batch)]
            yield batch[rank::world]
