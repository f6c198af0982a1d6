"""Batches of packed dialogues from a shard set, in an order that a seed and a step decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import lightning as L
import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from microturn.datagen.shards import ShardReader
from microturn.model.batch import LaneBatch
from microturn.model.streams import Lanes
from microturn.training.live import LiveBatches

if TYPE_CHECKING:
    from microturn.datagen.live import LiveSource


class DialogueDataset(Dataset[Lanes]):
    """Packed lanes of dialogue `index`; opens shards lazily, so workers can copy it.

    `live:FILE.yaml` in place of a folder: dialogues that are simulated when they are asked for.
    """

    def __init__(self, folder: str) -> None:
        self.reader: ShardReader | LiveSource
        if folder.startswith("live:"):
            from microturn.datagen.live import LiveSource  # only where it is needed: it simulates

            self.reader = LiveSource.open(folder)
        else:
            self.reader = ShardReader(folder)

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> Lanes:
        return self.reader.lanes(index)


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
    def reader(self) -> ShardReader | LiveSource:
        return self.dataset.reader

    def train_dataloader(self) -> DataLoader[Any]:
        return self.shard_loader() if isinstance(self.reader, ShardReader) else self.live_loader()

    def shard_loader(self) -> DataLoader[Lanes]:
        return DataLoader(
            self.dataset,
            batch_sampler=self.sampler,
            collate_fn=LaneBatch.collate,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )

    def live_loader(self) -> DataLoader[Any]:
        """Each rank simulates its own dialogues; none is seen twice."""
        assert not isinstance(self.reader, ShardReader)
        trainer = self.trainer
        batches = LiveBatches(
            self.reader,
            self.sampler.batch_size,
            first_step=self.sampler.first_step,
            steps=self.sampler.steps,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
        )
        return DataLoader(
            batches,
            batch_size=None,
            collate_fn=LaneBatch.collate,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
        )
