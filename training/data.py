"""Batches of packed dialogues, in an order that a seed and a step decide.

A step's batch is cut into equal slices, one per device, and each slice into parts that a device
computes one after another. Which dialogues a step has depends on neither.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from microturn.model.batch import LaneBatch
from microturn.model.losses import weight_sums
from microturn.model.streams import Lanes
from microturn.training.process_group import ProcessGroup
from microturn.training.sources import Source


@dataclass(frozen=True, kw_only=True)
class Part:
    """What a device computes at once: some dialogues of the batch of one step."""

    lanes: LaneBatch
    step: int
    index: int  # which part of this device's slice
    first_row: int  # where its dialogues begin in the batch of the step
    dialogues: tuple[int, ...]  # their numbers in the source
    sums: dict[str, float]  # `weight_sums` over all parts of this device

    def to(self, device: torch.device) -> Part:
        return replace(self, lanes=self.lanes.to(device))


class StepSampler(Sampler[list[int]]):
    """Dialogues of one device for steps `first_step`.. of an endless run.

    A pure function of (seed, step): a resumed run reads exactly what it would have read. Every
    epoch is a new permutation of the seed; an endless source is gone through once.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        *,
        seed: int,
        first_step: int,
        steps: int,
        rank: int = 0,
        world: int = 1,
        endless: bool = False,
    ) -> None:
        self.n, self.batch_size, self.seed, self.endless = n, batch_size, seed, endless
        self.first_step, self.steps = first_step, steps
        self.slice = batch_size // world
        self.first_row = rank * self.slice

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, order = -1, np.arange(self.n)
        for step in range(self.first_step, self.steps):
            first = step * self.batch_size + self.first_row
            draws = range(first, first + self.slice)
            if self.endless:
                yield list(draws)
                continue
            batch = []
            for draw in draws:
                if draw // self.n != epoch:
                    epoch = draw // self.n
                    order = np.random.default_rng([self.seed, epoch]).permutation(self.n)
                batch.append(int(order[draw % self.n]))
            yield batch


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One device's dialogues of one step, or why they could not be had."""

    dialogues: tuple[int, ...]
    parts: tuple[LaneBatch, ...] = ()
    sums: dict[str, float]
    failure: str = ""


class SliceDataset(Dataset[Slice]):
    """Reads, checks and stacks the dialogues of a step; runs in the loader's processes.

    What a user can mend travels as text: an exception of another process would arrive with a
    traceback inside its message.
    """

    def __init__(self, source: Source, parts: int) -> None:
        self.source, self.parts = source, parts
        self.vocabulary = len(source.tokenizer)

    def __getitem__(self, dialogues: list[int]) -> Slice:
        numbers = tuple(dialogues)
        try:
            lanes = [self.read(i) for i in dialogues]
        except (ValueError, OSError) as error:
            return Slice(dialogues=numbers, sums={}, failure=_sentence(error))
        size = len(lanes) // self.parts
        parts = tuple(
            LaneBatch.collate(lanes[first : first + size]) for first in range(0, len(lanes), size)
        )
        sums = [weight_sums(part) for part in parts]
        total = {name: sum(s[name] for s in sums) for name in sums[0]}
        return Slice(dialogues=numbers, parts=parts, sums=total)

    def read(self, index: int) -> Lanes:
        """One dialogue, refused where it would spoil the step."""
        lanes = self.source.lanes(index)
        for spec in lanes.layout.lane_specs:
            tokens = lanes[spec.name]
            if (
                spec.kind == "tokens"
                and tokens.size
                and not 0 <= tokens.min() <= tokens.max() < self.vocabulary
            ):
                raise ValueError(
                    f"{self.source.name(index)}: lane {spec.name} has token {tokens.max()}, the "
                    f"tokenizer has {self.vocabulary}; simulate the set again"
                )
        for name, weight in lanes.weights.items():
            if not np.isfinite(weight).all():
                raise ValueError(
                    f"{self.source.name(index)}: {name}_weight is not finite; simulate the set "
                    "again"
                )
        return lanes


class Parts:
    """The parts of every step, in order; what the trainer iterates over."""

    def __init__(self, loader: DataLoader[Slice], sampler: StepSampler, parts: int) -> None:
        self.loader, self.sampler, self.parts = loader, sampler, parts
        self.ranks = ProcessGroup()  # where one device cannot go on, none does

    def __len__(self) -> int:
        return len(self.sampler) * self.parts

    def __iter__(self) -> Iterator[Part]:
        for step, read in enumerate(self.loader, start=self.sampler.first_step):
            if self.ranks.any(bool(read.failure)):
                raise ValueError(next(text for text in self.ranks.texts(read.failure) if text))
            size = len(read.dialogues) // self.parts
            for index, lanes in enumerate(read.parts):
                yield Part(
                    lanes=lanes,
                    step=step,
                    index=index,
                    first_row=self.sampler.first_row + index * size,
                    dialogues=read.dialogues[index * size : (index + 1) * size],
                    sums=read.sums,
                )


class DialogueData(L.LightningDataModule):
    """Training parts over a source; `first_step` is where a resumed run goes on.

    batch_size: dialogues per step, of all devices and parts together.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        steps: int,
        first_step: int = 0,
        workers: int = 0,
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.source, self.parts, self.workers = source, parts, workers
        self.batch_size, self.seed = batch_size, seed
        self.steps, self.first_step = steps, first_step

    def train_dataloader(self) -> Parts:
        trainer = self.trainer
        sampler = StepSampler(
            len(self.source),
            self.batch_size,
            seed=self.seed,
            first_step=self.first_step,
            steps=self.steps,
            rank=trainer.global_rank if trainer else 0,
            world=trainer.world_size if trainer else 1,
            endless=self.source.endless,
        )
        loader = DataLoader(
            SliceDataset(self.source, self.parts),
            sampler=sampler,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            prefetch_factor=4 if self.workers else None,
            worker_init_fn=_ignore_interrupts,
        )
        return Parts(loader, sampler, self.parts)


def _as_it_is(item: Any) -> Any:
    return item


def _ignore_interrupts(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the training process ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _sentence(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
