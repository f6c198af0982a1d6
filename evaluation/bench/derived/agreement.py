"""How far derived events agree with the exact labels of simulated dialogues.

An event that was found and a label are one where their times are within a tolerance: of turns the
end, where the agent's window hangs; of everything else the onset. Each counts once, the nearest
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel
from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    INTERRUPTION,
    PAUSE,
    TURN,
    USER_BACKCHANNEL,
)

# What is compared, with what it expects of the agent; others of a type are not asked for.
KINDS: Final = {
    TURN: "respond",
    USER_BACKCHANNEL: "resume",
    AGENT_BACKCHANNEL: "backchannel",
    INTERRUPTION: "stop",
    PAUSE: "stay_silent",
}


@dataclass(kw_only=True)
class Agreement:
    """Counts of one kind of event."""

    n_labels: int = 0
    n_derived: int = 0
    n_both: int = 0
    n_outside: int = 0  # labels that the rule does not cover, whatever it finds

    @property
    def precision(self) -> float | None:
        return self.n_both / self.n_derived if self.n_derived else None

    @property
    def recall(self) -> float | None:
        return self.n_both / self.n_labels if self.n_labels else None

    @property
    def f1(self) -> float | None:
        """None without labels."""
        if not self.n_labels:
            return None
        return 2 * self.n_both / (self.n_labels + self.n_derived)

    def add(self, other: Agreement) -> None:
        for name in ("n_labels", "n_derived", "n_both", "n_outside"):
            setattr(self, name, getattr(self, name) + getattr(other, name))


def agreement(
    labels: DialogueLabels,
    derived: Sequence[EventLabel],
    *,
    kind: str,
    tolerance_s: float,
    shortest_s: float,
) -> Agreement:
    """Compare one kind of event in one dialogue.

    `shortest_s` is the shortest overlap of an interruption, or the shortest pause, that the rule
    knows: shorter labels are counted as outside of it.
    """
    act = KINDS[kind]
    exact = [event for event in labels.events if (event.type, event.act) == (kind, act)]
    found = [
        event
        for event in derived
        if event.type == kind and (event.act == act or kind == USER_BACKCHANNEL)
        if event.speaker == ("agent" if kind == AGENT_BACKCHANNEL else "user")
    ]
    moments = [_moment(event, labels) for event in exact]
    times = [event.end_s if kind == TURN else event.start_s for event in found]
    return Agreement(
        n_labels=len(exact),
        n_derived=len(found),
        n_both=_n_matched(moments, times, tolerance_s),
        n_outside=sum(_length_s(event, labels) < shortest_s for event in exact),
    )


def _moment(event: EventLabel, labels: DialogueLabels) -> float:
    """When the event of a label shows: where the agent backchannels, in the window for it."""
    if event.type == AGENT_BACKCHANNEL and event.window_s is not None:
        first_s, last_s = event.window_s
        starts = [w.start_s for w in labels.words.agent if first_s <= w.start_s < last_s]
        return min(starts, default=event.start_s)
    return event.end_s if event.type == TURN else event.start_s


def _length_s(event: EventLabel, labels: DialogueLabels) -> float:
    """How long the agent goes on when it is interrupted; of anything else its own length."""
    if event.type != INTERRUPTION or event.window_s is None:
        return event.end_s - event.start_s
    ends = [w.end_s for w in labels.words.agent if w.start_s < event.window_s[1]]
    return max([end - event.start_s for end in ends if end > event.start_s], default=0.0)


def _n_matched(first: Sequence[float], second: Sequence[float], tolerance_s: float) -> int:
    """Pairs of times within a tolerance, nearest first, each time in one pair at most."""
    pairs = sorted(
        (abs(a - b), i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if abs(a - b) <= tolerance_s
    )
    left, right = set(range(len(first))), set(range(len(second)))
    n = 0
    for _, i, j in pairs:
        if i in left and j in right:
            left.remove(i)
            right.remove(j)
            n += 1
    return n
