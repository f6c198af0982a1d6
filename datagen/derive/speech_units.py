"""Inter-pausal units and turns: who speaks when, and who holds the floor.

The units of a side are its words or stretches of activity, joined over silences shorter than
`join_s`. The floor goes as in `dialogue/turn_taking.py`: it changes when a unit that is no
backchannel outlasts the speech of who holds it; what ends before is an attempt at most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from microturn.datagen.derive.backchannel_forms import is_backchannel
from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.labels.dialogue import WordLabel
from microturn.datagen.labels.setting import SpanS


@dataclass(frozen=True, kw_only=True)
class SpokenSide:
    """What one side says: words with their times, stretches of activity, or both.

    Where `spans` are given they say when the side speaks, and words say what. Without them it
    speaks while its words last; a label of unknown times is one stretch.
    """

    words: tuple[WordLabel, ...] = ()
    spans: tuple[SpanS, ...] | None = None

    @property
    def is_timed(self) -> bool:
        """Whether the times come from words that all have known ones."""
        return self.spans is None and not any(word.is_unknown for word in self.words)


@dataclass(frozen=True, kw_only=True)
class SpeechUnit:
    """An inter-pausal unit."""

    speaker: str  # user or agent
    start_s: float
    end_s: float
    text: str  # empty where no words are known

    @property
    def length_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(kw_only=True)
class FloorTurn:
    """Units of one speaker who holds the floor, and what the other says into them."""

    units: list[SpeechUnit]
    attempts: list[SpeechUnit] = field(default_factory=list)

    @property
    def speaker(self) -> str:
        return self.units[0].speaker

    @property
    def start_s(self) -> float:
        return self.units[0].start_s

    @property
    def end_s(self) -> float:
        return max(unit.end_s for unit in self.units)

    @property
    def text(self) -> str:
        return " ".join(unit.text for unit in self.units if unit.text)


def units_of(side: SpokenSide, speaker: str, config: DeriveConfig) -> list[SpeechUnit]:
    """The inter-pausal units of a side, in order of time."""
    spans = side.spans
    if spans is None:
        spans = tuple((word.start_s, word.end_s) for word in side.words)
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] < config.join_s:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    texts: list[list[str]] = [[] for _ in joined]
    for word in sorted(side.words, key=lambda word: (word.start_s, word.end_s)):
        place = _most_of(word, joined)
        if place is not None and word.text:
            texts[place].append(word.text)
    return [
        SpeechUnit(speaker=speaker, start_s=start, end_s=end, text=" ".join(words))
        for (start, end), words in zip(joined, texts, strict=True)
    ]


def _most_of(word: WordLabel, spans: Sequence[SpanS]) -> int | None:
    """The span that shares most of a word, the first of equal ones; None where none does."""
    best, most_s = None, 0.0
    first = max(bisect_right(spans, word.start_s, key=lambda span: span[0]) - 1, 0)
    for place in range(first, len(spans)):
        start, end = spans[place]
        if start >= word.end_s:
            break
        shared_s = min(end, word.end_s) - max(start, word.start_s)
        if shared_s > most_s:
            best, most_s = place, shared_s
    return best


def silences(units: Sequence[SpeechUnit], place: int, *, duration_s: float) -> SpanS:
    """How long the speaker of a unit is silent before it and after it, inside the dialogue."""
    before_s = units[place - 1].end_s if place else 0.0
    after_s = units[place + 1].start_s if place + 1 < len(units) else duration_s
    return units[place].start_s - before_s, after_s - units[place].end_s


def needed_silence_s(unit: SpeechUnit, config: DeriveConfig) -> float:
    """How long the speaker of a backchannel is silent around it."""
    return config.listed_silence_s if unit.text else config.own_silence_s


def is_listening(
    own: Sequence[SpeechUnit],
    place: int,
    other: Sequence[SpeechUnit],
    *,
    duration_s: float,
    language: str,
    config: DeriveConfig,
) -> bool:
    """Whether a unit is a backchannel: short, alone, at the other's turn, and left at that."""
    unit = own[place]
    before_s, after_s = silences(own, place, duration_s=duration_s)
    is_first, is_last = place == 0, place + 1 == len(own)
    silence_s = needed_silence_s(unit, config)
    alone = (is_first or before_s >= silence_s) and (is_last or after_s >= silence_s)
    if unit.length_s > config.max_backchannel_s or not alone:
        return False
    if unit.text and not is_backchannel(unit.text, language, config.more_backchannels):
        return False
    reach = unit.start_s - config.after_turn_s
    if not any(o.start_s < unit.start_s and o.end_s >= reach for o in other):
        return False
    if not unit.text and _other_waits_s(unit, other, duration_s) > config.answered_s:
        return False
    return is_last or any(
        o.end_s > unit.end_s and o.start_s < own[place + 1].start_s for o in other
    )


def _other_waits_s(unit: SpeechUnit, other: Sequence[SpeechUnit], duration_s: float) -> float:
    """How long the other is silent around a unit; 0 where both speak."""
    if any(o.start_s < unit.end_s and unit.start_s < o.end_s for o in other):
        return 0.0
    before_s = max((o.end_s for o in other if o.end_s <= unit.start_s), default=0.0)
    after_s = min((o.start_s for o in other if o.start_s >= unit.end_s), default=duration_s)
    return after_s - before_s


def turns_of(units: Iterable[SpeechUnit], config: DeriveConfig) -> list[FloorTurn]:
    """The turns of both speakers, from their units without backchannels.

    A holder who is silent for less than a pause is still heard: what the other says meanwhile, and
    not longer than the holder goes on, is an attempt. What the next speaker has said into the turn
    before belongs to the next turn, where the floor was left because of it: the holder fell silent
    at most `yield_s` after it began, and stayed so.
    """
    turns: list[FloorTurn] = []
    ordered = sorted(units, key=lambda unit: (unit.start_s, unit.end_s))
    goes_on = _ends_of_stretches(ordered, config)
    for unit in ordered:
        held = turns[-1] if turns else None
        if held is None:
            turns.append(FloorTurn(units=[unit]))
        elif unit.speaker == held.speaker:
            if unit.start_s - held.end_s > config.longest_pause_s:
                turns.append(FloorTurn(units=[unit]))
            else:
                held.units.append(unit)
        elif unit.end_s <= max(held.end_s, goes_on[held.units[-1]]):
            held.attempts.append(unit)
        else:
            _pass_on(turns, unit, config)
    if turns and (taken := _taken(turns[-1], config)):
        turns.append(FloorTurn(units=taken))
    return turns


def _ends_of_stretches(
    units: Sequence[SpeechUnit], config: DeriveConfig
) -> dict[SpeechUnit, float]:
    """When the speaker of each unit next is silent for as long as a pause."""
    ends: dict[SpeechUnit, float] = {}
    following: dict[str, SpeechUnit] = {}
    for unit in reversed(units):
        later = following.get(unit.speaker)
        near = later is not None and later.start_s - unit.end_s < config.pause_s
        ends[unit] = max(unit.end_s, ends[later]) if near and later is not None else unit.end_s
        following[unit.speaker] = unit
    return ends


def _pass_on(turns: list[FloorTurn], unit: SpeechUnit, config: DeriveConfig) -> None:
    """Give the floor to the speaker of a unit, from what they said into the last turn on."""
    taken = _taken(turns[-1], config)
    if taken and unit.start_s - taken[-1].end_s > config.longest_pause_s:
        turns.append(FloorTurn(units=taken))
        taken = []
    turns.append(FloorTurn(units=[*taken, unit]))


def _taken(held: FloorTurn, config: DeriveConfig) -> list[SpeechUnit]:
    """Take out the attempts at a turn that its speaker gave way to."""
    last_s = held.end_s - config.yield_s
    taken = [unit for unit in held.attempts if unit.start_s >= last_s]
    held.attempts = [unit for unit in held.attempts if unit.start_s < last_s]
    return taken
