"""Training batches in an order that depends on the seed and the step alone, so that a killed run can go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, distributed
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler

from ..data import Dataset
from .task import Task


class Pairs(TorchDataset):
    """(x, y) of a task for batches of items; computed once and kept where they fit in ``memory`` bytes.

    ``images`` are the training samples and, where symmetries are used, their images: item i + g * count is item i of
    image g.
    """

    def __init__(self, task: Task, images: Sequence[Dataset], memory: float):
        self.task, self.images, self.count = task, list(images), task.items(images[0])
        x, y = task.pair(images[0], torch.zeros(1, dtype=torch.long))
        small = (x.nbytes + y.nbytes) * self.count * len(self.images) <= memory
        everything = torch.arange(self.count)
        self.kept: list[tuple[Tensor, Tensor]] = [task.pair(d, everything) for d in self.images] if small else []

    def __len__(self) -> int:
        return self.count

    def __getitems__(self, items: list[int]) -> tuple[Tensor, Tensor]:
        index = torch.tensor(items)
        image = index // self.count
        parts, order = [], []
        for g in image.unique().tolist():
            places = (image == g).nonzero().flatten()
            local = index[places] - g * self.count
            order.append(places)
            parts.append(tuple(v[local] for v in self.kept[g]) if self.kept else self.task.pair(self.images[g], local))
        if len(parts) == 1:
            return parts[0]
        back = torch.cat(order).argsort()
        return torch.cat([x for x, _ in parts])[back], torch.cat([y for _, y in parts])[back]


def whole(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The collate function: a batch is read as one."""
    return batch


class StepBatches(Sampler[list[int]]):
    """Item indices of steps ``start`` .. ``steps`` - 1: epoch after epoch, each a permutation from (seed, epoch).

    With several processes (as torch.distributed tells when the stream begins, or as given) each takes every
    ``world``-th item of a batch. A last batch of fewer than ``world`` items is filled from the front of its epoch.
    With several ``images`` of the items (see ``Pairs``) each item of an epoch is that of a random image.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        steps: int,
        seed: int,
        rank: int | None = None,
        world: int | None = None,
        images: int = 1,
    ):
        self.images = images
        self.count, self.batch_size, self.steps, self.seed = count, min(batch_size, count), steps, seed
        self.rank, self.world, self.start = rank, world, 0

    @property
    def per_epoch(self) -> int:
        return -(-self.count // self.batch_size)

    def __len__(self) -> int:
        return self.steps

    def processes(self) -> tuple[int, int]:
        """(this process, how many there are)."""
        if self.rank is not None and self.world is not None:
            return self.rank, self.world
        ready = distributed.is_available() and distributed.is_initialized()
        return (distributed.get_rank(), distributed.get_world_size()) if ready else (0, 1)

    def __iter__(self) -> Iterator[list[int]]:
        rank, world = self.processes()
        order: list[int] = []
        epoch = -1
        for step in range(self.start, self.steps):
            if step // self.per_epoch != epoch:
                epoch = step // self.per_epoch
                generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
                items = torch.randperm(self.count, generator=generator)
                if self.images > 1:
                    items += self.count * torch.randint(self.images, (self.count,), generator=generator)
                order = items.tolist()
            at = (step % self.per_epoch) * self.batch_size
            batch = order[at : at + self.batch_size]
            if len(batch) < world:
                batch = batch + order[: world - len(batch)]
            yield batch[rank::world]
