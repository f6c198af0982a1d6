"""Counters and histograms of a live engine, as JSON and in the text format of Prometheus.

Times are histograms with fixed bounds around the length of a micro-turn, so that counters of
several servers can be added up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

_SHARES: Final = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.85, 1.0, 1.5, 2.0, 4.0)
_PREFIX: Final = "microturn_"


class Histogram:
    """Numbers of times at or below each bound."""

    def __init__(self, micro_turn_ms: float) -> None:
        self.bounds_ms = tuple(share * micro_turn_ms for share in _SHARES)
        self._counts = [0] * (len(_SHARES) + 1)
        self.sum_ms = 0.0

    def observe(self, ms: float) -> None:
        self._counts[bisect_left(self.bounds_ms, ms)] += 1
        self.sum_ms += ms

    @property
    def count(self) -> int:
        return sum(self._counts)

    def cumulative(self) -> list[tuple[float, int]]:
        """List (bound in ms, number of times at or below it); the last bound is infinity."""
        total, rows = 0, []
        for bound, count in zip((*self.bounds_ms, float("inf")), self._counts, strict=True):
            total += count
            rows.append((bound, total))
        return rows

    def to_json(self) -> dict[str, Any]:
        at_most = {f"{bound:g}": n for bound, n in self.cumulative()[:-1]}
        return {"count": self.count, "sum_ms": round(self.sum_ms, 3), "at_most_ms": at_most}


@dataclass
class Metrics:
    """Counters since the start; all of them only grow."""

    micro_turn_ms: float
    ticks: Histogram = field(init=False)  # one micro-turn of all ready sessions
    lag: Histogram = field(init=False)  # from the last sample of an input to its answer
    counters: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self.ticks, self.lag = Histogram(self.micro_turn_ms), Histogram(self.micro_turn_ms)
        self.counters = dict.fromkeys(_COUNTERS, 0)

    def count(self, name: str, n: int = 1) -> None:
        self.counters[name] += n

    def to_json(self) -> dict[str, Any]:
        """Return the counters, and both histograms in milliseconds."""
        return {**self.counters, "tick": self.ticks.to_json(), "lag": self.lag.to_json()}

    def to_prometheus(self, gauges: Mapping[str, float]) -> str:
        """Write text format 0.0.4: counters, current gauges, and histograms in seconds."""
        lines: list[str] = []
        for name, value in self.counters.items():
            _header(lines, f"{name}_total", kind="counter", help=_COUNTERS[name])
            lines.append(f"{_PREFIX}{name}_total {value}")
        for name, value_ in gauges.items():
            _header(lines, name, kind="gauge", help=_GAUGES[name])
            lines.append(f"{_PREFIX}{name} {value_:g}")
        for name, histogram, help in (
            ("tick_seconds", self.ticks, "time of one micro-turn of all sessions in it"),
            ("lag_seconds", self.lag, "from the last sample of a micro-turn to its answer"),
        ):
            _header(lines, name, kind="histogram", help=help)
            for bound, n in histogram.cumulative():
                le = "+Inf" if bound == float("inf") else f"{bound / 1000:g}"
                lines.append(f'{_PREFIX}{name}_bucket{{le="{le}"}} {n}')
            lines.append(f"{_PREFIX}{name}_sum {histogram.sum_ms / 1000:.6f}")
            lines.append(f"{_PREFIX}{name}_count {histogram.count}")
        return "\n".join(lines) + "\n"


def _header(lines: list[str], name: str, *, kind: str, help: str) -> None:
    lines += [f"# HELP {_PREFIX}{name} {help}", f"# TYPE {_PREFIX}{name} {kind}"]


_COUNTERS: Final = {
    "sessions_opened": "sessions that began",
    "sessions_refused": "sessions that were refused",
    "micro_turns": "micro-turns of all sessions",
    "missing_input": "micro-turns that went on without audio, which had not arrived in time",
    "dropped": "micro-turns that got no answer because too many waited",
    "too_late_input": "micro-turns of audio that came after theirs had gone on without it",
    "deadline_missed": "micro-turns answered later than one micro-turn after their last sample",
    "tokens_heard": "text tokens of users' words",
    "tokens_said": "text tokens of the model's words",
    "tokens_given": "text tokens that the model read on text_in",
}
_GAUGES: Final = {
    "sessions": "sessions now",
    "max_sessions": "sessions that have memory",
    "waiting": "micro-turns of input that wait",
    "lead_seconds": "least time to spare before an answer is due, over the last one of each",
    "admission_expected_seconds": "time of a micro-turn with one more session, at the quantile",
    "admission_limit_seconds": "time of a micro-turn from which on sessions are refused",
}
