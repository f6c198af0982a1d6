"""Admission of sessions: whether one more fits into real time, by measured times of ticks.

The promise is that a share of all ticks, the quantile, ends within a share of the time that a
micro-turn lasts. The cost of one more session is read from measurements, not from a model of the
machine: `calibrate` times every number of sessions before the first one begins, with pauses
between the ticks as a conversation has them, for caches go cold in between. The numbers take turns,
so that a bad moment of the machine does not fall on one of them, and the quantile leaves single
outliers out. Live times of the last minute tell how much slower the machine is now than it was
then; a hundred of them that were faster correct the measurement for good. An operator who knows
better gives the cost instead.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from microturn.inference.config import ServeConfig
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch

_MAX_TIMES: Final = 512  # live times kept for each number of sessions
_MAX_AGE_S: Final = 60.0  # of a live time that counts: one bad moment is forgiven
_MIN_TIMES: Final = 10  # live times from which on they may show that the machine is slower
_MANY_TIMES: Final = 100  # from which on they may show that it is faster than it was measured
_PAUSE_S: Final = 0.05  # before each tick that is timed


class Admission:
    """Measured times of ticks by number of sessions, and the refusals that follow from them.

    `cost_ms`, if given, is what an operator says: the time of one session, and of each further one.
    """

    def __init__(
        self,
        *,
        micro_turn_ms: float,
        share: float,
        quantile: float = 0.9,
        cost_ms: Sequence[float] = (),
    ) -> None:
        self.limit_ms = share * micro_turn_ms
        self.micro_turn_ms, self._quantile = micro_turn_ms, quantile
        self._cost_ms = tuple(cost_ms)
        self._calibrated: dict[int, float] = {}  # by number of sessions, machine at rest
        self._live: dict[int, deque[tuple[float, float]]] = {}  # (when, milliseconds)

    @property
    def calibrated(self) -> dict[int, float]:
        """Milliseconds by number of sessions, as measured before the first one."""
        return dict(self._calibrated)

    def calibrate(
        self,
        run: Callable[[int], object],
        max_sessions: int,
        *,
        micro_turns: int,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """Time `run(n)`, a tick of n sessions, for n = 1, 2, 4, ... and `max_sessions` in turn."""
        powers = (1 << k for k in range(max_sessions.bit_length()))
        counts = sorted({*(n for n in powers if n <= max_sessions), max_sessions})
        times: dict[int, list[float]] = {n: [] for n in counts}
        for n in counts:
            run(n)  # the first one allocates
        for _ in range(micro_turns):
            for n in counts:
                sleep(_PAUSE_S)
                started = clock()
                run(n)
                times[n].append((clock() - started) * 1000)
        self._calibrated = {n: self._typical(ms) for n, ms in times.items()}

    def record(self, n: int, ms: float, *, now: float) -> None:
        """Keep the time of a tick of n sessions."""
        times = self._live.setdefault(n, deque(maxlen=_MAX_TIMES))
        times.append((now, ms))
        calibrated = self._at_rest(n)
        if calibrated and len(times) >= _MANY_TIMES:
            last = list(times)[-_MANY_TIMES:]
            if now - last[0][0] <= _MAX_AGE_S:
                ratio = self._typical([ms for _, ms in last]) / calibrated
                if ratio < 1.0:  # the machine was busy when it was measured
                    self._calibrated = {m: ratio * ms for m, ms in self._calibrated.items()}

    def expected_ms(self, n: int, now: float) -> float | None:
        """Estimate the time of n sessions at once; None when nothing was measured at all."""
        if self._cost_ms:
            first, further = self._cost_ms
            return first + (n - 1) * further
        live = {m: self._typical(ms) for m, ms in self._live_times(now).items()}
        at_rest = self._at_rest(n)
        if at_rest is None:  # nothing but live times: twice the sessions, twice the time
            return max((ms * max(1.0, n / m) for m, ms in live.items()), default=None)
        slowdowns = [ms / (self._at_rest(m) or ms) for m, ms in live.items()]
        return at_rest * max([1.0, *slowdowns])

    def excess(self, n: int, now: float) -> str:
        """Return how n sessions at once are too many, or an empty string when they are not."""
        expected = self.expected_ms(n, now)
        if expected is None or expected < self.limit_ms:
            return ""
        sessions = "one session" if n == 1 else f"{n} sessions at once"
        how = "by admit_cost_ms" if self._cost_ms else f"p{100 * self._quantile:g}"
        return (
            f"{sessions} would need {expected:.0f} ms ({how}) of every "
            f"{self.micro_turn_ms:g} ms, and {self.limit_ms:g} ms is the limit"
        )

    def _typical(self, times_ms: Sequence[float]) -> float:
        times = np.asarray(times_ms, np.float64)
        return float(np.quantile(times, self._quantile, method="lower"))  # 2 of 20 do not count

    def _live_times(self, now: float) -> dict[int, list[float]]:
        recent = {
            n: [ms for when, ms in times if now - when <= _MAX_AGE_S]
            for n, times in self._live.items()
        }
        return {n: times for n, times in recent.items() if len(times) >= _MIN_TIMES}

    def _at_rest(self, n: int) -> float | None:
        """Return the least measured time of n or more sessions, else in proportion to n."""
        known = self._calibrated
        if not known:
            return None
        largest = max(known)
        if n > largest:
            return known[largest] * n / largest
        return min(ms for m, ms in known.items() if m >= n)


def measured_admission(batch: RowBatch, config: ServeConfig) -> Admission | None:
    """Time every number of sessions; None when the configuration refuses no session.

    All rows are fresh afterwards.
    """
    if not config.admit_share:
        return None
    layout = batch.layout
    admission = Admission(
        micro_turn_ms=layout.micro_turn_ms,
        share=config.admit_share,
        quantile=config.admit_quantile,
        cost_ms=config.admit_cost_ms,
    )
    if config.admit_cost_ms or not config.calibrate:
        return admission
    # Noise at about the level of speech: digital silence would be cheaper than a conversation.
    noise = 0.05 * np.random.default_rng(0).standard_normal(
        (batch.n_rows, layout.samples_per_micro_turn)
    )
    inputs = [MicroTurnIn(audio=audio) for audio in noise.astype(np.float32)]
    admission.calibrate(
        lambda n: batch.step_rows(dict(enumerate(inputs[:n]))),
        batch.n_rows,
        micro_turns=config.calibrate,
    )
    for row in range(batch.n_rows):
        batch.reset(row)
    return admission
