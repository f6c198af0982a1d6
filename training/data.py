"""Micro-batches of packed dialogues, in an order that a seed and a step decide.

A step's batch is cut into equal device batches, and each of those into micro-batches that a device
computes one after another. Which dialogues a step has depends on neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from microturn.model.batch import LaneBatch
from microturn.model.losses import weight_sums
from microturn.model.streams import Lanes
from microturn.training.process_group import ProcessGroup
from microturn.training.reading.checks import check_lanes
from microturn.training.reading.crop import cropped
from microturn.training.reading.damage import DamagedDialogues
from microturn.training.reading.loader import SamplerAhead, device_batches, new_loader, unchanged
from microturn.training.reading.mixture import order_of
from microturn.training.reading.order import Bucketed, Order
from microturn.training.reading.tolerant import skipped_in
from microturn.training.sources import Source, simulated_on_cluster


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """Dialogues that a device computes at once: some of the batch of one step."""

    lanes: LaneBatch
    step: int
    index: int  # among the micro-batches of its device batch
    first_row: int  # of its dialogues in the batch of the step
    dialogues: tuple[int, ...]  # numbers in the source
    weight_sums: dict[str, float]  # over all micro-batches of this device's step

    def to(self, device: torch.device) -> MicroBatch:
        return replace(self, lanes=self.lanes.to(device))


class StepDraw(NamedTuple):
    """The dialogues of one device in one step."""

    step: int
    dialogues: list[int]  # numbers in the source


class StepSampler(Sampler[StepDraw]):
    """Dialogues of one device for steps `first_step`.. of a run.

    A pure function of the order and the step: a resumed run reads exactly what it would have read.
    """

    def __init__(
        self,
        order: Order,
        batch_size: int,
        *,
        first_step: int,
        steps: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.order, self.batch_size = order, batch_size
        self.first_step, self.steps = first_step, steps
        self.device_batch_size = batch_size // world_size
        self.rank, self.first_row = rank, rank * self.device_batch_size

    def __len__(self) -> int:
        return max(0, self.steps - self.first_step)

    def __iter__(self) -> Iterator[StepDraw]:
        for step in range(self.first_step, self.steps):
            first_draw = step * self.batch_size + self.first_row
            yield StepDraw(step, self.order.dialogues(first_draw, self.device_batch_size))


@dataclass(frozen=True, kw_only=True)
class DeviceBatch:
    """One device's dialogues of one step, or the error that reading them met."""

    dialogues: tuple[int, ...]
    micro_batches: tuple[LaneBatch, ...] = ()
    weight_sums: dict[str, float]
    error: str = ""
    skipped: dict[str, str] = field(default_factory=dict)  # reasons by name, since the start


class DeviceBatchDataset(Dataset[DeviceBatch]):
    """Reads, checks and stacks the dialogues of a step; runs in the loader's processes.

    An error that a user can fix travels as text: an exception of another process would arrive
    with a traceback inside its message.
    """

    def __init__(
        self,
        source: Source,
        n_micro_batches: int,
        *,
        crop_micro_turns: int = 0,
        seed: int = 0,
        lanes: Callable[[int], Lanes] | None = None,
    ) -> None:
        """Read from a source, or what is read of it from `lanes`."""
        self.source, self.n_micro_batches = source, n_micro_batches
        self._lanes = lanes or source.lanes
        self.crop_micro_turns, self.seed = crop_micro_turns, seed
        self.vocab_size = len(source.tokenizer)

    def __getitem__(self, draw: StepDraw) -> DeviceBatch:
        numbers = tuple(draw.dialogues)
        try:
            lanes = [self._piece(self.read(i), draw.step, i) for i in numbers]
        except (ValueError, OSError) as error:
            return DeviceBatch(dialogues=numbers, weight_sums={}, error=_sentence(error))
        size = len(lanes) // self.n_micro_batches
        micro_batches = tuple(
            LaneBatch.collate(lanes[first : first + size]) for first in range(0, len(lanes), size)
        )
        sums = [weight_sums(batch) for batch in micro_batches]
        total = {name: sum(s[name] for s in sums) for name in sums[0]}
        return DeviceBatch(
            dialogues=numbers,
            micro_batches=micro_batches,
            weight_sums=total,
            skipped=skipped_in(self.source),
        )

    def _piece(self, lanes: Lanes, step: int, index: int) -> Lanes:
        if not self.crop_micro_turns:
            return lanes
        return cropped(lanes, self.crop_micro_turns, seed=(self.seed, step, index))

    def read(self, index: int) -> Lanes:
        """Read one dialogue; ValueError where it would spoil the step."""
        lanes = self._lanes(index)
        check_lanes(lanes, self.source.name(index), vocab_size=self.vocab_size)
        return lanes


class MicroBatches:
    """The micro-batches of every step, in order: the trainer iterates over them.

    Batches come as bytes, through a pipe: tensors would come through /dev/shm, and where that is
    full, as in a container, the worker would drop a batch and the training wait for it for ever.
    """

    def __init__(
        self,
        loader: DataLoader[Any],
        sampler: StepSampler,
        *,
        n_micro_batches: int,
        damaged: DamagedDialogues | None = None,
    ) -> None:
        self.loader, self.sampler, self.n_micro_batches = loader, sampler, n_micro_batches
        self.damaged = damaged
        self.processes = ProcessGroup()  # where one device cannot go on, none does

    def __len__(self) -> int:
        """Count the micro-batches of the whole run; Lightning counts those of a resumed one too."""
        return self.sampler.steps * self.n_micro_batches

    def state_dict(self) -> dict[str, int]:
        """Return the first step that has not been handed out whole, for a Lightning checkpoint."""
        return {"step": self.sampler.first_step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.first_step = state["step"]

    def __iter__(self) -> Iterator[MicroBatch]:
        """Go on with the first step that has not been handed out whole."""
        batches = device_batches(self.loader)
        for step, batch in enumerate(batches, start=self.sampler.first_step):
            skipped = self.damaged.new(batch.skipped) if self.damaged else {}
            if self.processes.any(bool(batch.error or skipped)):
                self._report(batch.error, skipped)
            size = len(batch.dialogues) // self.n_micro_batches
            for index, lanes in enumerate(batch.micro_batches):
                if index == self.n_micro_batches - 1:
                    self.sampler.first_step = step + 1
                yield MicroBatch(
                    lanes=lanes,
                    step=step,
                    index=index,
                    first_row=self.sampler.first_row + index * size,
                    dialogues=batch.dialogues[index * size : (index + 1) * size],
                    weight_sums=batch.weight_sums,
                )

    def _report(self, error: str, skipped: dict[str, str]) -> None:
        """Share what one process met with all; ValueError where none can go on."""
        found = [json.loads(text) for text in self.processes.gather(json.dumps([error, skipped]))]
        for _, reasons in found:
            if self.damaged is not None:
                self.damaged.add(reasons)
        for text, _ in found:
            if text:
                raise ValueError(text)


class ValidationDataset(Dataset[MicroBatch]):
    """The first dialogues of a source in fixed batches; each device has an equal share of them."""

    def __init__(
        self,
        source: Source,
        n_dialogues: int,
        batch_size: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.source, self.batch_size = source, batch_size
        n = min(n_dialogues, len(source)) // world_size
        if n == 0:
            raise ValueError(
                f"validate.data has fewer dialogues than there are devices={world_size}"
            )
        self.dialogues = [rank + world_size * i for i in range(n)]

    def __len__(self) -> int:
        return -(-len(self.dialogues) // self.batch_size)

    def __getitem__(self, index: int) -> MicroBatch:
        if index >= len(self):
            raise IndexError(index)
        first = index * self.batch_size
        numbers = tuple(self.dialogues[first : first + self.batch_size])
        lanes = []
        for number in numbers:
            lanes.append(self.source.lanes(number))
            vocab_size = len(self.source.tokenizer)
            check_lanes(lanes[-1], self.source.name(number), vocab_size=vocab_size)
        batch = LaneBatch.collate(lanes)
        return MicroBatch(
            lanes=batch,
            step=0,
            index=index,
            first_row=first,
            dialogues=numbers,
            weight_sums=weight_sums(batch),
        )


class DialogueData(L.LightningDataModule):
    """Training batches over a source, from the step on that the trainer stands at.

    batch_size: dialogues per step, of all devices and micro-batches together.
    n_micro_batches: of each device in a step, what the trainer accumulates.
    bucket_steps: steps whose dialogues are sorted by length together.
    crop_micro_turns: longest piece of a dialogue, 0: all of it.
    damaged: what was left out so far, for the process of a rank.
    validation: source of dialogues whose first `n_validation` the trainer validates on.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        steps: int,
        workers: int = 0,
        n_micro_batches: int = 1,
        bucket_steps: int = 1,
        crop_micro_turns: int = 0,
        damaged: Callable[[int], DamagedDialogues] | None = None,
        validation: Source | None = None,
        n_validation: int = 64,
    ) -> None:
        super().__init__()
        self.validation, self.n_validation = validation, n_validation
        self.source, self.n_micro_batches, self.workers = source, n_micro_batches, workers
        self.batch_size, self.seed = batch_size, seed
        self.bucket_steps, self.crop_micro_turns = bucket_steps, crop_micro_turns
        self.damaged, self.steps = damaged, steps

    def train_dataloader(self) -> MicroBatches:
        trainer = self.trainer
        world_size = trainer.world_size if trainer else 1
        if self.batch_size % (world_size * self.n_micro_batches):
            raise ValueError(
                f"batch_size={self.batch_size} must be a multiple of devices x accumulate="
                f"{world_size * self.n_micro_batches}"
            )
        sampler = StepSampler(
            self._order(),
            self.batch_size,
            first_step=trainer.global_step if trainer else 0,
            steps=self.steps,
            rank=trainer.global_rank if trainer else 0,
            world_size=world_size,
        )
        loader = self._loader(sampler, world_size)
        damaged = self.damaged(sampler.rank) if self.damaged else None
        return MicroBatches(loader, sampler, n_micro_batches=self.n_micro_batches, damaged=damaged)

    def _loader(self, sampler: StepSampler, world_size: int) -> DataLoader[Any]:
        on_cluster = simulated_on_cluster(self.source)
        if not on_cluster:
            return new_loader(self._dataset(), sampler, workers=self.workers)
        from microturn.training.reading.cluster import PartsAhead

        ahead = PartsAhead(self.source, on_cluster, n_ranks=world_size)
        return new_loader(self._dataset(ahead.receive), SamplerAhead(sampler, ahead), workers=0)

    def _dataset(self, lanes: Callable[[int], Lanes] | None = None) -> DeviceBatchDataset:
        return DeviceBatchDataset(
            self.source,
            self.n_micro_batches,
            crop_micro_turns=self.crop_micro_turns,
            seed=self.seed,
            lanes=lanes,
        )

    def _order(self) -> Order:
        order = order_of(self.source, seed=self.seed, batch_size=self.batch_size)
        if self.bucket_steps == 1:
            return order
        return Bucketed(
            order,
            self._read_length,
            n_steps=self.bucket_steps,
            batch_size=self.batch_size,
            seed=self.seed,
        )

    def _read_length(self, index: int) -> int:
        """Micro-turns that are read of a dialogue; 0 for one that cannot be read, said later."""
        try:
            length = self.source.length(index)
        except (ValueError, OSError):
            return 0
        return min(length, self.crop_micro_turns or length)

    def val_dataloader(self) -> list[DataLoader[MicroBatch]]:
        if self.validation is None:
            return []
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        dialogues = ValidationDataset(
            self.validation,
            self.n_validation,
            self.batch_size // (world_size * self.n_micro_batches),
            rank=rank,
            world_size=world_size,
        )
        return [DataLoader(dialogues, batch_size=None, collate_fn=unchanged)]


def _sentence(error: ValueError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
