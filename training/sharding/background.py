"""Writing while training goes on: a copy in the machine's memory, and a thread that writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from torch import Tensor
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions


class Background:
    """Does one piece of work at a time in a thread."""

    def __init__(self) -> None:
        self._running: Future[None] | None = None

    def start(self, work: Callable[[], None]) -> None:
        """Begin; the work before is done (`wait`)."""
        assert self._running is None
        pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._running = pool.submit(work)
        pool.shutdown(wait=False)

    def wait(self) -> None:
        """Wait for the work that was begun, if any; raises what it raised."""
        running, self._running = self._running, None
        if running is not None:
            running.result()


def staged(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors, of sharded ones what this process holds, into the machine's memory."""
    plain = StagingOptions(
        use_pinned_memory=False,
        use_shared_memory=False,
        use_async_staging=False,
        use_non_blocking_copy=False,
    )
    copies = DefaultStager(plain).stage({**tensors})
    assert isinstance(copies, dict)
    return copies
