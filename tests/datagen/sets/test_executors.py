"""Workers answer, fail with their sentence, and are missed when they die."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

import pytest

from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task


@dataclass(frozen=True)
class Squares:
    """A task that squares; fails at one number and dies at another."""

    fails_at: int = -1
    dies_at: int = -1
    breaks_at: int = -1

    def __call__(self) -> Task:
        return self.make

    def make(self, shard: int) -> Report:
        if shard == self.fails_at:
            raise ValueError(f"shard {shard} cannot be squared")
        if shard == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if shard == self.breaks_at:
            raise LookupError("a fault of the program")
        return {"square": shard * shard, "threads": os.environ["OMP_NUM_THREADS"]}


@pytest.mark.parametrize("workers", [1, 3])
def test_all_shards_are_made(workers: int) -> None:
    reports = list(run_tasks(Squares(), [1, 2, 3, 4, 5], workers=workers))
    assert sorted(report["square"] for report in reports) == [1, 4, 9, 16, 25]
    assert {report["threads"] for report in reports} == {"1"}


def test_nothing_to_do_starts_nothing() -> None:
    assert list(run_tasks(Squares(), [], workers=2)) == []


def test_the_sentence_of_a_worker_arrives() -> None:
    with pytest.raises(ValueError, match="shard 2 cannot be squared"):
        list(run_tasks(Squares(fails_at=2), [1, 2, 3], workers=2))


def test_a_dead_worker_is_missed() -> None:
    with pytest.raises(OSError, match=r"a worker process died \(exit code -9\)"):
        list(run_tasks(Squares(dies_at=2), [1, 2, 3], workers=2))


def test_a_fault_of_the_program_is_not_taken_for_lack_of_memory(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(OSError, match="a worker process failed by a fault of the program"):
        list(run_tasks(Squares(breaks_at=2), [1, 2, 3], workers=2))
    assert "LookupError: a fault of the program" in capfd.readouterr().err


def test_ray_leaves_signals_to_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    from microturn.datagen.executors.on_ray import connect

    def own(number: int, _: object) -> None: ...

    def init(**_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as ray.init does, with a handler of its own

    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, own)
    try:
        connect("")
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
