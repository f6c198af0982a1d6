"""Rewards of events, from the outcomes that the scorers find, and the micro-turns they count for.

| event | right | missed | against |
|---|---|---|---|
| turn | the right answer in time | nothing, or too late | a wrong word; begun before the end |
| interruption | stopped in time, and what was said was right | did not speak | went on |
| backchannel, noise, voice | went on | did not speak | stopped, or lost the thread |
| pause, side talk, silence | (`silent`) kept silent | | spoke |
| cue, result | the right words in time | nothing, or too late | wrong words |
| listening point | something short | nothing | took the floor |
| request | delegated in time | did not | |

What is right earns nothing where something unasked stands beside it (`EventOutcome.clean`): else
who says everything would always be right. Unasked speech has a price for each micro-turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, floor
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.answers import stopped_by
from microturn.evaluation.scoring.continuation import next_disturbance
from microturn.evaluation.scoring.events import event_outcomes
from microturn.evaluation.scoring.outcomes import (
    BackchannelOutcome,
    CueOutcome,
    DelegationOutcome,
    EventOutcome,
    ResultOutcome,
    ResumeOutcome,
    SilenceOutcome,
    StopOutcome,
    TurnOutcome,
)
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.training.reinforce.config import RewardConfig

EARLY: Final = "early"  # kind of the reward for letting a turn end
RIGHT, MISSED, AGAINST, SILENT = "right", "missed", "against", "silent"
_GOES_ON_S: Final = 2.0  # after a disturbance: for so long its reward counts


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The reward of one event: for the tokens of the micro-turns from `first` to before `last`."""

    kind: str  # type of the event, or `early`
    name: str  # the same for this event however often the dialogue is held
    value: float
    became: str  # right, missed, against or silent
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class Rewarded:
    """All rewards of one performance of a dialogue."""

    rewards: tuple[Reward, ...]
    slips: NDArray[np.float32]  # (N,) unasked speech, or `<delegate>`, by the micro-turn it sounds
    price: float

    @property
    def total(self) -> float:
        return sum(one.value for one in self.rewards) - self.price * float(self.slips.sum())


def rewards_of(scored: ScoredDialogue, cfg: RewardConfig) -> Rewarded:
    """Find the rewards of a performance."""
    micro_turn_s = scored.dialogue.micro_turn_s
    n = round(scored.dialogue.duration_s / micro_turn_s)
    seen: Counter[tuple[str, str]] = Counter()
    rewards: list[Reward] = []
    for event, outcome in event_outcomes(scored):
        seen[event.type, event.text] += 1  # what is asked again moves no other request's name
        number = seen[event.type, event.text]
        for kind, became, (start_s, end_s) in _judged(scored, event, outcome):
            # What micro-turn k makes sounds in the next one.
            first = max(floor(start_s / micro_turn_s) - 1, 0)
            rewards.append(
                Reward(
                    kind=kind,
                    name=f"{kind} {event.type} {event.text} {number}",
                    value=float(getattr(cfg, became)),
                    became=became,
                    first=first,
                    last=min(max(ceil(end_s / micro_turn_s) - 1, first + 1), n),
                )
            )
    return Rewarded(rewards=tuple(rewards), slips=_slips(scored, n), price=cfg.price)


def _slips(scored: ScoredDialogue, n: int) -> NDArray[np.float32]:
    slips = np.zeros(n, np.float32)
    for k, spoke in scored.due_silences.items():
        slips[k] += spoke
    for time_s in scored.false_delegates:
        slips[min(int(time_s / scored.dialogue.micro_turn_s), n - 1)] += 1
    return slips


_Judged = tuple[str, str, tuple[float, float]]


def _judged(scored: ScoredDialogue, event: EventLabel, outcome: EventOutcome) -> Iterator[_Judged]:
    """Yield kind, what became of it, and the seconds in which it was decided."""
    if isinstance(outcome, TurnOutcome):
        yield EARLY, AGAINST if outcome.early else SILENT, (event.start_s, event.end_s)
    became = became_of(outcome)
    if became == RIGHT and not outcome.clean:
        became = MISSED
    yield event.type, became, _window(scored, event)


def became_of(outcome: EventOutcome) -> str:
    """Return `right`, `missed`, `against`, or `silent`; raises ValueError for another outcome."""
    match outcome:
        case TurnOutcome():
            if outcome.right is False and outcome.said:
                return AGAINST
            return RIGHT if outcome.in_window and outcome.right is not False else MISSED
        case StopOutcome():
            if not outcome.speaking:
                return MISSED
            stopped = RIGHT if outcome.spoke_rightly else MISSED
            return stopped if outcome.in_time else AGAINST
        case ResumeOutcome():
            if not outcome.speaking:
                return MISSED
            return RIGHT if outcome.went_on else AGAINST
        case SilenceOutcome():
            return SILENT if outcome.silent else AGAINST
        case CueOutcome():
            if outcome.onset_s is not None and not outcome.right:
                return AGAINST
            return RIGHT if outcome.in_window else MISSED
        case BackchannelOutcome():
            if outcome.onset_s is not None and not outcome.given:
                return AGAINST
            return RIGHT if outcome.given else MISSED
        case DelegationOutcome():
            right = outcome.delegated and outcome.acknowledged is not False
            return RIGHT if right else MISSED
        case ResultOutcome():
            return RIGHT if outcome.spoken and outcome.alone else MISSED
    raise ValueError(f"{type(outcome).__name__} has no reward; add one to reinforce/rewards.py")


def _window(scored: ScoredDialogue, event: EventLabel) -> tuple[float, float]:
    """When it is decided what becomes of an event, in seconds of sound."""
    windows, answer = scored.windows, scored.answer_to(event)
    if answer is not None:
        return answer.floor(windows)
    if event.act == "stop":
        return event.start_s, stopped_by(event, windows) + windows.stopped_for_s
    if event.act == "resume":
        limit_s = next_disturbance(scored, event)
        return event.start_s, min(limit_s, event.end_s + _GOES_ON_S)
    return event.window_s or (event.start_s, event.end_s)
