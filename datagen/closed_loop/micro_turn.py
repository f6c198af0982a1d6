"""What environment and agent give each other in a micro-turn, and what becomes of events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.dialogue.timeline import Event, TextArrival
from microturn.datagen.labels.dialogue import DialogueLabels

Kind = Literal["came", "never", "asked_again", "gave_up", "yielded"]


@dataclass(frozen=True, kw_only=True)
class MicroTurn:
    """What an agent gets to hear and read in one micro-turn."""

    audio: NDArray[np.float32]  # (samples_per_micro_turn,) of the microphone, whole 16-bit steps
    text_in: tuple[int, ...] = ()  # up to text_in_positions ids
    missing_input: bool = False  # the audio did not arrive in time
    given: Mapping[str, NDArray[Any]] = field(default_factory=dict)  # frames of `video`


class Output(Protocol):
    """What an agent makes of a micro-turn; `inference.micro_turn.MicroTurnOut` is one."""

    @property
    def audio(self) -> NDArray[np.float32]: ...  # (samples_per_micro_turn,), played in the next

    @property
    def say(self) -> Sequence[int]: ...  # token ids without `<idle>`


@dataclass(frozen=True, kw_only=True)
class Played:
    """An output that is no model's."""

    audio: NDArray[np.float32]
    say: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """What became of something planned.

    came         an event has happened: its words were said
    never        it will not happen: the agent gave no reason for it, or the time is over
    asked_again  the user repeats what was not answered
    gave_up      the user no longer waits for an answer
    yielded      the user leaves the floor to an agent that spoke into a pause or their words
    """

    kind: Kind
    sample: int  # when it was decided
    event: Event | None = None  # at the time at which it happened, or was planned
    family: str = ""


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What has happened in an environment so far, and what its agent did."""

    index: int
    labels: DialogueLabels
    agent_audio: NDArray[np.float32]  # (T,)
    say: tuple[tuple[int, ...], ...]  # token ids by the micro-turn in which they were decided
    results: tuple[TextArrival, ...]  # of the background agent, that have arrived
    never: tuple[Occurrence, ...]  # what will not happen and counts for nothing
