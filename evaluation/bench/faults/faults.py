"""The faults that are put into a training of several ranks, by name."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from microturn.evaluation.bench.faults.ranks import Ranks
from microturn.training.state import saved_states

STEP: Final = 8  # that a fault by step meets; beyond the first saved state


@dataclass(kw_only=True)
class Struck:
    """Where a fault strikes."""

    ranks: Ranks
    rank: int  # in the middle
    data: Path
    out: Path


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, what it is called in the table, and what undoes it.

    strike: harms a running training; beforehand: harms the folder of one that was stopped.
    words: of the command, in the run that is harmed. ends: whether the run ends by it.
    """

    what: str
    strike: Callable[[Struck], None] | None = None
    beforehand: Callable[[Struck], None] | None = None
    undo: Callable[[Struck], None] | None = None
    words: tuple[str, ...] = ()
    ends: bool = True


def _send(number: signal.Signals, *, first: bool = False) -> Callable[[Struck], None]:
    def strike(target: Struck) -> None:
        rank = 0 if first else target.rank
        if number in (signal.SIGKILL, signal.SIGSTOP):
            target.ranks.harmed.add(rank)
        target.ranks.send(rank, number)

    return strike


def _limit(
    kind: int, bytes_of: Callable[[Struck, int], int], *, first: bool
) -> Callable[..., None]:
    """Limit a resource of a running rank, from outside."""

    def strike(target: Struck) -> None:
        pid = target.ranks.pid(0 if first else target.rank)
        resource.prlimit(pid, kind, (bytes_of(target, pid), resource.RLIM_INFINITY))

    return strike


def _half_a_state(target: Struck, _: int) -> int:
    return saved_states(target.out)[-1].stat().st_size // 2


def _present_memory(_: Struck, pid: int) -> int:
    fields = Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()
    return int(fields[0]) * os.sysconf("SC_PAGE_SIZE")


def _stop_reader(target: Struck) -> None:
    """Stop the processes that read dialogues for one rank, whoever of its own started them."""
    for pid in _started_by(target.ranks.pid(target.rank)):
        if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGSTOP)


def _started_by(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text(encoding="utf-8").split()):
            yield from _started_by(child)
            yield child


def _slow_down(target: Struck) -> None:
    """Let one rank run a third of the time, until it ends."""
    process = target.ranks.processes[target.rank]

    def blink() -> None:
        while process.exitcode is None:
            for number, seconds in ((signal.SIGSTOP, 0.2), (signal.SIGCONT, 0.1)):
                target.ranks.send(target.rank, number)
                time.sleep(seconds)
        process.join()

    threading.Thread(target=blink, daemon=True).start()


def _run_twice(target: Struck) -> None:
    """Start a second training in the folder, and let the first one be."""
    first = target.ranks
    second = Ranks(words=first.words, n=first.n, errors=first.errors / "second")
    second.start()
    seconds = second.wait(120.0)
    said = " ".join(second.said()) if seconds is not None else "the second run hangs"
    with (first.errors / "rank0").open("a", encoding="utf-8") as file:
        file.write(f"\nmicroturn train: (second run, {seconds or 120:.0f} s) {said}\n")
    first.send(0, signal.SIGTERM)


def _tar(target: Struck) -> Path:
    return sorted(target.data.glob("*.tar"))[0]


def _kept(path: Path) -> Path:
    return path.with_name(f"{path.name}.kept")


def _remove_shard(target: Struck) -> None:
    _tar(target).rename(_kept(_tar(target)))


def _damage_shard(target: Struck) -> None:
    tar = _tar(target)
    _kept(tar).write_bytes(tar.read_bytes())
    tar.write_bytes(tar.read_bytes()[:512].ljust(tar.stat().st_size, b"\0"))


def _mend_shard(target: Struck) -> None:
    for kept in target.data.glob("*.kept"):
        kept.replace(kept.with_suffix(""))


def _tear_state(target: Struck) -> None:
    """Leave half of the last state, as a broken disk does."""
    last = saved_states(target.out)[-1]
    path = last if last.is_file() else max(last.iterdir(), key=lambda part: part.stat().st_size)
    os.truncate(path, path.stat().st_size // 2)


def _remove_state(target: Struck) -> None:
    last = saved_states(target.out)[-1]
    if last.is_file():
        last.unlink()
        return
    for part in sorted(last.iterdir()):
        part.unlink()
    last.rmdir()


SPOIL: Final = (
    "microturn.evaluation.bench.faults.spoil.SpoilGradient(rank={rank}, step=" + f"{STEP})"
)
FAULTS: Final = {
    "killed": Fault(what="a rank is killed", strike=_send(signal.SIGKILL)),
    "first_killed": Fault(
        what="the first rank is killed", strike=_send(signal.SIGKILL, first=True)
    ),
    "stopped": Fault(what="a rank is stopped (SIGSTOP)", strike=_send(signal.SIGSTOP)),
    "first_stopped": Fault(
        what="the first rank is stopped", strike=_send(signal.SIGSTOP, first=True)
    ),
    "reader_stopped": Fault(
        what="the reader of a rank's data hangs", strike=_stop_reader, words=("loader_workers=1",)
    ),
    "terminated": Fault(what="SIGTERM to one rank", strike=_send(signal.SIGTERM)),
    "no_memory": Fault(
        what="a rank gets no memory",
        strike=_limit(resource.RLIMIT_AS, _present_memory, first=False),
    ),
    "disk_full": Fault(
        what="the disk is full (RLIMIT_FSIZE)",
        strike=_limit(resource.RLIMIT_FSIZE, _half_a_state, first=True),
    ),
    "not_a_number": Fault(
        what="NaN in the gradient of one rank", words=(f'callbacks=["{SPOIL}"]',)
    ),
    "shard_gone": Fault(what="a shard is gone", beforehand=_remove_shard, undo=_mend_shard),
    "shard_damaged": Fault(what="a shard is damaged", beforehand=_damage_shard, undo=_mend_shard),
    "state_torn": Fault(what="the last state is torn", beforehand=_tear_state, undo=_remove_state),
    "two_runs": Fault(what="two runs in one folder", strike=_run_twice),
    "slow": Fault(what="a rank runs a third of the time", strike=_slow_down, ends=False),
}
