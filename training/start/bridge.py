"""The way from the rates of one schedule to those of another, when a run resumes with another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# Settings that decide the rate of a step.
SCHEDULE: Final = frozenset(
    {
        "max_steps",
        "max_minutes",
        "optim.lr",
        "optim.muon_lr",
        "optim.warmup_steps",
        "optim.decay",
    }
)


_WITHOUT_WARM_UP: Final = 30  # steps; a run may start at its peak rate, but none jumps to another


@dataclass(frozen=True, kw_only=True)
class Bridge:
    """A line from the last rates before a change to those of the new schedule.

    It is as long as a warm-up, and part of the state: a run that stops on it goes on along it.
    """

    first_step: int
    rates: Mapping[str, float]  # of the step before it, by group of the optimiser

    @staticmethod
    def length(warmup_steps: int) -> int:
        """Return its steps in a run with this warm-up, which may be 0."""
        return warmup_steps or _WITHOUT_WARM_UP

    def rate(self, group: str, new: float, *, step: int, warmup_steps: int) -> float:
        """Return the learning rate of a group at a step, where the new schedule says `new`."""
        share = min(1.0, (step - self.first_step + 1) / self.length(warmup_steps))
        return share * new + (1 - share) * self.rates.get(group, new)

    def to_json(self) -> dict[str, Any]:
        return {"first_step": self.first_step, "rates": dict(self.rates)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Bridge:
        return cls(first_step=int(entry["first_step"]), rates=dict(entry["rates"]))
