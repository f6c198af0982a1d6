"""Admission of sessions: whether one more fits into real time, by measured times of ticks.

The promise is that 99 of 100 ticks end within a share of the time that a micro-turn lasts. The cost
of one more session is read from measurements, not from a model of the machine: `calibrate` times
every number of sessions before the first one begins, and live times of the last minute tell how
much slower the machine is now than it was then, or, once there are enough of them for a 99th
percentile, how much faster.
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

_MAX_TIMES: Final = 512  # live times kept for each number of sessions
_MAX_AGE_S: Final = 60.0  # of a live time that counts: one bad moment is forgiven
_MIN_TIMES: Final = 100  # live times from which on they may also show that the machine is faster


def p99(times_ms: Sequence[float]) -> float:
    """Return the 99th percentile, rounded up: of fewer than a hundred times the largest."""
    return float(np.percentile(np.asarray(times_ms, np.float64), 99, method="higher"))


class Admission:
    """Measured times of ticks by number of sessions, and the refusals that follow from them."""

    def __init__(self, *, micro_turn_ms: float, share: float) -> None:
        self.limit_ms = share * micro_turn_ms
        self.micro_turn_ms = micro_turn_ms
        self._calibrated: dict[int, float] = {}  # p99 by number of sessions, machine at rest
        self._live: dict[int, deque[tuple[float, float]]] = {}  # (when, milliseconds)
        self._recalibrate: Callable[[], None] | None = None
        self._recalibrated_at = -_MAX_AGE_S

    @property
    def calibrated(self) -> dict[int, float]:
        """p99 in milliseconds by number of sessions, as measured before the first one."""
        return dict(self._calibrated)

    def calibrate(
        self,
        run: Callable[[int], object],
        max_sessions: int,
        *,
        micro_turns: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Time `run(n)`, a tick of n sessions, for n = 1, 2, 4, ... and `max_sessions`."""
        powers = (1 << k for k in range(max_sessions.bit_length()))
        counts = sorted({*(n for n in powers if n <= max_sessions), max_sessions})
        calibrated = {}
        for n in counts:
            run(n)  # the first one allocates
            times = []
            for _ in range(micro_turns):
                started = clock()
                run(n)
                times.append((clock() - started) * 1000)
            calibrated[n] = p99(times)
        self._calibrated = calibrated
        self._recalibrate = partial(
            self.calibrate, run, max_sessions, micro_turns=micro_turns, clock=clock
        )

    def calibrate_again(self, now: float) -> bool:
        """Calibrate anew, while there is no session, at most once a minute; tells whether it did.

        So a machine that was busy when the server started does not refuse for ever.
        """
        if self._recalibrate is None or now - self._recalibrated_at < _MAX_AGE_S:
            return False
        self._recalibrated_at = now
        self._recalibrate()
        return True

    def record(self, n: int, ms: float, *, now: float) -> None:
        """Keep the time of a tick of n sessions."""
        self._live.setdefault(n, deque(maxlen=_MAX_TIMES)).append((now, ms))

    def expected_ms(self, n: int, now: float) -> float | None:
        """Estimate the p99 of n sessions at once; None when nothing was measured at all."""
        live = self._live_times(now)
        at_rest = self._interpolate(self._calibrated, n)
        if at_rest is None:  # nothing but live times: twice the sessions, twice the time
            return max((p99(ms) * max(1.0, n / m) for m, ms in live.items()), default=None)
        slowdowns = []
        for m, ms in live.items():
            calibrated = self._interpolate(self._calibrated, m)
            ratio = p99(ms) / calibrated if calibrated else 1.0
            slowdowns.append(ratio if len(ms) >= _MIN_TIMES else max(1.0, ratio))
        of_more = [p99(ms) for m, ms in live.items() if m >= n]
        return max([at_rest * max(slowdowns, default=1.0), *of_more])

    def refusal(self, n: int, now: float) -> str:
        """Return why n sessions at once are too many, or an empty string when they are not."""
        expected = self.expected_ms(n, now)
        if expected is None or expected < self.limit_ms:
            return ""
        sessions = "one session" if n == 1 else f"{n} sessions at once"
        return (
            f"{sessions} would need {expected:.0f} ms (p99) of every "
            f"{self.micro_turn_ms:g} ms, and {self.limit_ms:g} ms is the limit; try again later"
        )

    def _live_times(self, now: float) -> dict[int, list[float]]:
        recent = {
            n: [ms for when, ms in times if now - when <= _MAX_AGE_S]
            for n, times in self._live.items()
        }
        return {n: times for n, times in recent.items() if times}

    @staticmethod
    def _interpolate(known: dict[int, float], n: int) -> float | None:
        """Return the time of the next measured number at or above n, else in proportion to n."""
        if not known:
            return None
        above = [m for m in known if m >= n]
        if above:
            return known[min(above)]
        largest = max(known)
        return known[largest] * n / largest


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
