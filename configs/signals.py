"""Signals that ask a command to end: it stops as on Ctrl-C and exits with 128 + their number.

Ctrl-C, SIGTERM (Slurm, Docker, Kubernetes, `timeout`) and SIGHUP (a terminal that closed) are one
exception, so that whatever cleans up after one cleans up after all. A signal that was ignored when
the command started, as `nohup` does, stays ignored.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

ENDING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
HANGING_UP = tuple(number for number in ENDING if number.name == "SIGHUP")
_AGAIN_S = 1.0  # a scheduler may send a signal twice, to a process and to its group

Handler = Callable[[int, FrameType | None], object]


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def number_of(interrupt: KeyboardInterrupt) -> int:
    """The signal behind an interrupt."""
    return int(getattr(interrupt, "number", signal.SIGINT))


def code_of(number: int) -> int:
    """The exit code after a signal."""
    return 128 + number


@contextmanager
def handling(handler: Handler, numbers: tuple[int, ...] = ENDING) -> Iterator[None]:
    """Call `handler` for these signals inside the block, unless they are ignored."""
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
    except ValueError:  # only the main thread can be interrupted
        before = {}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextmanager
def raising_interrupts() -> Iterator[None]:
    """Raise Interrupted inside the block where a signal asks the command to end."""
    last: dict[int, float] = {}

    def interrupt(number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        again = now - last.get(number, float("-inf")) < _AGAIN_S
        last[number] = now
        if not again:
            raise Interrupted(number)

    with handling(interrupt, tuple(n for n in ENDING if n != signal.SIGINT)):
        yield


def leave_to_parent() -> None:
    """Ignore, in a worker, what asks to end: it may reach every process; the parent ends it."""
    more = [getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name)]
    for number in (*ENDING, *more):
        signal.signal(number, signal.SIG_IGN)
