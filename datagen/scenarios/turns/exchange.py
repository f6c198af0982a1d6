"""The two halves of an exchange of a conversation: a turn of the user and what answers it."""

from __future__ import annotations

from dataclasses import dataclass, field

from microturn.datagen.dialogue.units import Unit


@dataclass(frozen=True, kw_only=True)
class PlacedUnit:
    """A unit of a user's turn and where it sounds."""

    unit: Unit
    start_sample: int

    @property
    def end_sample(self) -> int:
        return self.start_sample + self.unit.n_samples


@dataclass(kw_only=True)
class UserTurn:
    """What a user says in one go, and what it brings."""

    units: list[PlacedUnit]
    pauses: list[tuple[int, int]] = field(default_factory=list)
    n_lines: int = 0  # what is said before the question

    @property
    def start_sample(self) -> int:
        return self.units[0].start_sample

    @property
    def end_sample(self) -> int:
        return self.units[-1].end_sample

    @property
    def text(self) -> str:
        return " ".join(item.unit.text for item in self.units)


@dataclass(frozen=True, kw_only=True)
class AgentTurn:
    """What the agent means to say, and the turn that it answers."""

    asked: UserTurn
    planned: list[tuple[Unit, int]]

    @property
    def start_sample(self) -> int:
        return self.planned[0][1]

    @property
    def end_sample(self) -> int:
        unit, start = self.planned[-1]
        return start + unit.n_samples
