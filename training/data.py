"""Batches of packed dialogues from a shard set, in an order that a seed and a step decide."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from microturn.datagen.shards import ShardReader
from microturn.model.batch import LaneBatch
from microturn.model.streams import Lanes


class DialogueDataset(Dataset[Lanes]):
    """Packed lanes of dialogue `index`; opens shards lazily, so workers can copy it."""

    def __init__(self, folder: str) -> None:
        self.reader = ShardReader(folder)

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Lanes:
        return self.reader[index].lanes()


class StepSampler(Sampler[list[int]]):
    """Batches `first_step`.. of an endless run; every epoch is a new permutation of the seed.

    A pure function of (seed, step): a resumed run reads exactly what it would have read.
    """

    def __init__(self, n: int, batch_size: int, *, seed: int, first_step: int, steps: int) -> None:
        self.n, self.batch_size, self.seed = n, batch_size, seed
        self.first_step, self.steps = first_step, steps

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.arange(self.n)
        for step in range(self.first_step, self.steps):
            batch = []
            for draw in range(step * self.batch_size, (step + 1) * self.batch_size):
                if draw // self.n != epoch:
                    epoch = draw // self.n
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
                batch.append(int(order[draw % self.n]))
            yield batch


class DialogueData(L.LightningDataModule):
    """Training batches over a shard set; `first_step` is where a resumed run goes on."""

    def __init__(
        self, folder: str, *, batch_size: int, seed: int, steps: int, first_step: int, workers: int
    ) -> None:
        super().__init__()
        self.dataset = DialogueDataset(folder)
        if len(self.dataset) == 0:
            raise ValueError(f"{folder}: the shard set holds no dialogue; simulate some first")
        self.sampler = StepSampler(
            len(self.dataset), batch_size, seed=seed, first_step=first_step, steps=steps
        )
        self.workers = workers

    @property
    def reader(self) -> ShardReader:
        return self.dataset.reader

    def train_dataloader(self) -> DataLoader[Lanes]:
        return DataLoader(
            self.dataset,
            batch_sampler=self.sampler,
            collate_fn=LaneBatch.collate,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )
