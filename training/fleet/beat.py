"""What a rank tells the others once a second, through the store of the process group."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from microturn.training.fleet.place import PARTS_OF_STEP, Place


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Why a run ends, and the exit code of every rank.

    ranks: those at fault, which may be unable to speak; empty where none can be told.
    """

    text: str
    code: int
    ranks: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Beat:
    """A sign of life of one rank."""

    number: int  # of the beat
    host: str
    process: int
    marks: int = 0
    step: int = 0
    label: str = ""
    may_take_long: bool = False
    longest_s: float = 0.0  # pause in a step so far
    cut_off: str = ""  # what a collective said whose connection broke
    failure: Verdict | None = None  # of this rank
    verdict: Verdict | None = None  # over the run, by the first rank
    ends: bool = False  # it goes no further

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Beat:
        """Read a beat; ValueError where it is none."""
        try:
            values: dict[str, Any] = json.loads(text)
            for key in ("failure", "verdict"):
                one = values[key]
                values[key] = Verdict(**one | {"ranks": tuple(one["ranks"])}) if one else None
            return Beat(**values)
        except (KeyError, TypeError) as error:
            raise ValueError(f"no sign of life of a rank: {text!r:.80}") from error

    @property
    def place(self) -> str:
        return (
            f"{self.label} of step {self.step + 1}" if self.label in PARTS_OF_STEP else self.label
        )

    @property
    def who(self) -> str:
        return f"{self.host}, process {self.process}"


def beat_of(place: Place, *, number: int, host: str, process: int, **more: Any) -> Beat:
    """Describe where a process stands."""
    return Beat(
        number=number,
        host=host,
        process=process,
        marks=place.marks,
        step=place.step,
        label=place.label,
        may_take_long=place.may_take_long,
        longest_s=place.longest_s,
        **more,
    )
