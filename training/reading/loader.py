"""The loader of device batches, in the training process or in processes of its own."""

from __future__ import annotations

import errno
import multiprocessing
import pickle
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from torch.utils.data import DataLoader, Dataset, Sampler

from microturn.configs.reading import lines_of
from microturn.configs.signals import leave_to_parent


class DrawOfStep(Protocol):
    """What a step reads."""

    @property
    def dialogues(self) -> list[int]: ...


class Asks(Protocol):
    """What makes dialogues before they are read. size: how many of these at least are ahead."""

    size: int

    def ask(self, index: int) -> bool:
        """Have a dialogue made; False where it is read in its time."""


D = TypeVar("D", bound=DrawOfStep)


class SamplerAhead(Sampler[D]):
    """The draws of a sampler; the dialogues of the next ones are asked for before.

    So many are simulated ahead as keep the workers busy, and at most one draw more.
    """

    def __init__(self, sampler: Sampler[D], ahead: Asks) -> None:
        self.sampler, self.ahead = sampler, ahead

    def __iter__(self) -> Iterator[D]:
        waiting: deque[tuple[D, int]] = deque()  # draws, and how many of each were asked for
        n = 0
        for draw in self.sampler:
            asked = sum([self.ahead.ask(index) for index in draw.dialogues])
            waiting.append((draw, asked))
            n += asked
            while waiting and n - waiting[0][1] >= self.ahead.size:
                n -= waiting[0][1]
                yield waiting.popleft()[0]
        yield from (draw for draw, _ in waiting)


def new_loader(dataset: Dataset[Any], sampler: Sampler[Any], *, workers: int) -> DataLoader[Any]:
    """Load the items of a dataset that a sampler names, in its order; workers=0: here."""
    return DataLoader(
        dataset,
        sampler=sampler,
        batch_size=None,
        collate_fn=pickle.dumps if workers else unchanged,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_leave_signals,
    )


def device_batches(loader: DataLoader[Any]) -> Iterator[Any]:
    """Iterate over a loader; OSError says what its processes lack."""
    _check_shared_memory(loader.num_workers)
    try:
        for batch in loader:
            yield pickle.loads(batch) if loader.num_workers else batch
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise OSError(
            f"a process that reads dialogues died ({lines_of(str(error))[0]}), perhaps for lack "
            "of memory; give loader_workers=0, and the same command continues"
        ) from error


def _check_shared_memory(n_workers: int) -> None:
    """Raise OSError where the locks between processes find no room; a loader would half start."""
    try:
        locks = [multiprocessing.Lock() for _ in range(4 * n_workers)]
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise OSError(
            f"loader_workers={n_workers} needs room in /dev/shm, which is full; free it, give the "
            "container more (docker run --shm-size=1g), or give loader_workers=0"
        ) from error
    del locks


def unchanged(item: Any) -> Any:
    """Return an item as it is, in place of torch's collation."""
    return item


def _leave_signals(worker: int) -> None:
    """Leave signals, which may reach every process of a terminal or job, to the training."""
    leave_to_parent()
