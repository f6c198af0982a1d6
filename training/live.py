"""Training on dialogues that are simulated while it runs: `data="live:datagen/demo.yaml"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch.utils.data import IterableDataset, get_worker_info

from microturn.model.streams import Lanes

if TYPE_CHECKING:
    from microturn.datagen.live import LiveSource


class LiveBatches(IterableDataset[list[Lanes]]):
    """Batches `first_step`.. of an endless run of dialogues; none is seen twice.

    Step s of rank r takes the dialogues from (s * world + r) * batch_size on, whatever the number
    of loader workers: a resumed run reads what it would have read. Each worker makes whole steps,
    and a DataLoader with batch_size=None hands them on in order.
    """

    def __init__(
        self,
        source: LiveSource,
        batch_size: int,
        *,
        first_step: int,
        steps: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.source, self.batch_size = source, batch_size
        self.first_step, self.steps = first_step, steps
        self.rank, self.world = rank, world

    def __iter__(self) -> Iterator[list[Lanes]]:
        info = get_worker_info()
        worker, n_workers = (info.id, info.num_workers) if info else (0, 1)
        for step in range(self.first_step + worker, self.steps, n_workers):
            first = (step * self.world + self.rank) * self.batch_size
            yield [self.source.lanes(i) for i in range(first, first + self.batch_size)]
