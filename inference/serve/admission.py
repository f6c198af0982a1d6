"""Whether one more conversation fits into real time, by measured times of micro-turns.

The promise is that 99 of 100 micro-turns of all conversations together end within a share of the
time that a micro-turn lasts. What one more conversation would cost is read from measurements, not
from a model of the machine: `calibrate` times every number of conversations before the first one
comes, and live times of the last minute say how much slower the machine is now than it was then,
or, once there are enough of them for a 99th percentile, how much faster.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import numpy as np

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch

_KEPT: Final = 512  # live times that count, of each number of conversations
_YOUNG_S: Final = 60.0  # and for how long they do: one bad moment is forgiven
_ENOUGH: Final = 100  # live times from which on they may also say that the machine is faster


def p99(times_ms: Sequence[float]) -> float:
    """The 99th percentile, counted upwards: of fewer than a hundred times the largest."""
    return float(np.percentile(np.asarray(times_ms, np.float64), 99, method="higher"))


class Admission:
    """Measured times of micro-turns by number of conversations, and what follows from them."""

    def __init__(self, *, micro_turn_ms: float, share: float) -> None:
        self.limit_ms = share * micro_turn_ms
        self.micro_turn_ms = micro_turn_ms
        self._before: dict[int, float] = {}  # p99 by number of conversations, machine at rest
        self._live: dict[int, deque[tuple[float, float]]] = {}  # (when, milliseconds)
        self._again: Callable[[], None] | None = None
        self._asked = -_YOUNG_S

    @property
    def calibrated(self) -> dict[int, float]:
        """p99 in milliseconds by number of conversations, as it was before the first one."""
        return dict(self._before)

    def calibrate(
        self,
        run: Callable[[int], object],
        most: int,
        *,
        micro_turns: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Time `run(n)`, a micro-turn of n conversations, for n = 1, 2, 4, ... and `most`."""
        counts = sorted({*(1 << k for k in range(most.bit_length()) if 1 << k <= most), most})
        found = {}
        for n in counts:
            run(n)  # the first one allocates
            times = []
            for _ in range(micro_turns):
                started = clock()
                run(n)
                times.append((clock() - started) * 1000)
            found[n] = p99(times)
        self._before = found
        self._again = partial(self.calibrate, run, most, micro_turns=micro_turns, clock=clock)

    def calibrate_again(self, now: float) -> bool:
        """Measure anew, while there is no conversation; at most once a minute, says whether it did.

        So a machine that was busy when the server started does not refuse for ever.
        """
        if self._again is None or now - self._asked < _YOUNG_S:
            return False
        self._asked = now
        self._again()
        return True

    def note(self, n: int, ms: float, now: float) -> None:
        """A micro-turn of n conversations took so long."""
        self._live.setdefault(n, deque(maxlen=_KEPT)).append((now, ms))

    def expected_ms(self, n: int, now: float) -> float | None:
        """p99 that n conversations at once would have; None when nothing was measured at all."""
        live = self._live_times(now)
        before = self._between(self._before, n)
        if before is None:  # nothing but live times: twice the conversations, twice the time
            return max((p99(ms) * max(1.0, n / m) for m, ms in live.items()), default=None)
        slower = []
        for m, ms in live.items():
            then = self._between(self._before, m)
            ratio = p99(ms) / then if then else 1.0
            slower.append(ratio if len(ms) >= _ENOUGH else max(1.0, ratio))
        at_least = [p99(ms) for m, ms in live.items() if m >= n]
        return max([before * max(slower, default=1.0), *at_least])

    def refusal(self, n: int, now: float) -> str:
        """Why n conversations at once are too many, in one sentence; empty when they are not."""
        expected = self.expected_ms(n, now)
        if expected is None or expected < self.limit_ms:
            return ""
        what = "one conversation" if n == 1 else f"{n} conversations at once"
        return (
            f"{what} would need {expected:.0f} ms (p99) of every "
            f"{self.micro_turn_ms:g} ms, and {self.limit_ms:g} ms is the limit; try again later"
        )

    def _live_times(self, now: float) -> dict[int, list[float]]:
        found = {}
        for n, times in self._live.items():
            young = [ms for when, ms in times if now - when <= _YOUNG_S]
            if young:
                found[n] = young
        return found

    @staticmethod
    def _between(known: dict[int, float], n: int) -> float | None:
        """The next measured number of conversations at or above n, or what grows with n."""
        if not known:
            return None
        above = [m for m in known if m >= n]
        if above:
            return known[min(above)]
        most = max(known)
        return known[most] * n / most


def measured_admission(batch: RowBatch, config: ServeConfig) -> Admission | None:
    """Time every number of sessions in turn; None when the configuration refuses no session.

    All rows are fresh afterwards.
    """
    if not config.admit_share:
        return None
    layout = batch.layout
    admission = Admission(micro_turn_ms=layout.micro_turn_ms, share=config.admit_share)
    # Noise at about the level of speech: digital silence would be cheaper than a conversation.
    noise = 0.05 * np.random.default_rng(0).standard_normal(
        (batch.n_rows, layout.samples_per_micro_turn)
    )
    inputs = [MicroTurnIn(audio=audio) for audio in noise.astype(np.float32)]
    if config.calibrate:
        admission.calibrate(
            lambda n: batch.step_rows(dict(enumerate(inputs[:n]))),
            batch.n_rows,
            micro_turns=config.calibrate,
        )
    for row in range(batch.n_rows):
        batch.reset(row)
    return admission
