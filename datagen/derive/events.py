"""Events of two recorded sides, by rule: turns, pauses, backchannels, interruptions, overlaps.

Each rule compares a time with a limit of `DeriveConfig`. The confidence of an event is the largest
that its evidence allows (times of words, or activity alone), times the surest of 0.5 to 1 of its
rule that is least sure: 0.5 at its limit, 1 from half as much again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from microturn.datagen.derive.config import DeriveConfig
from microturn.datagen.derive.speech_units import (
    FloorTurn,
    SpeechUnit,
    SpokenSide,
    is_listening,
    needed_silence_s,
    silences,
    turns_of,
    units_of,
)
from microturn.datagen.labels.dialogue import EventLabel, ExpectLabel
from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    INTERRUPTION,
    OVERLAP,
    PAUSE,
    TURN,
    USER_BACKCHANNEL,
)

USER: Final = "user"
AGENT: Final = "agent"
DIGITS: Final = 6  # of seconds in labels
SPEAKING_S: Final = 0.5  # who was heard this short a time ago is still speaking
BACKCHANNELS: Final = {USER: USER_BACKCHANNEL, AGENT: AGENT_BACKCHANNEL}


def derive_events(
    user: SpokenSide,
    agent: SpokenSide,
    *,
    duration_s: float,
    language: str = "",
    config: DeriveConfig | None = None,
) -> tuple[EventLabel, ...]:
    """The events of a recorded dialogue, by time; all of them with a confidence below 1.

    What either side does is an event; what the user does expects something of the agent, as the
    recorded agent did it. `language` is a tag of `corpora.languages`, empty for unknown.
    """
    config = config or DeriveConfig()
    evidence = config.words_confidence
    if not (user.is_timed and agent.is_timed):
        evidence = config.activity_confidence
    units = {
        USER: units_of(user, USER, config),
        AGENT: units_of(agent, AGENT, config),
    }
    for side in (USER, AGENT):
        _check_inside(units[side], duration_s)
    listening = {
        side: [
            place
            for place in range(len(units[side]))
            if is_listening(
                *(units[side], place, units[_other(side)]),
                duration_s=duration_s,
                language=language,
                config=config,
            )
        ]
        for side in (USER, AGENT)
    }
    turns = turns_of(
        [
            unit
            for side in (USER, AGENT)
            for place, unit in enumerate(units[side])
            if place not in listening[side]
        ],
        config,
    )
    rules = _Rules(units=units, duration_s=duration_s, evidence=evidence, config=config)
    events = [
        *(rules.backchannel(side, place) for side in (USER, AGENT) for place in listening[side]),
        *rules.changes(turns),
        *(event for turn in turns for event in rules.inside(turn)),
    ]
    return tuple(sorted(events, key=lambda event: (event.start_s, event.end_s, event.type)))


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """The rules on the units of one dialogue."""

    units: dict[str, list[SpeechUnit]]
    duration_s: float
    evidence: float
    config: DeriveConfig

    # --- backchannels ------------------------------------------------------------------------
    def backchannel(self, side: str, place: int) -> EventLabel:
        config, unit = self.config, self.units[side][place]
        before_s, after_s = silences(self.units[side], place, duration_s=self.duration_s)
        other = self.units[_other(side)]
        over = any(o.start_s < unit.start_s < o.end_s for o in other)
        sure = min(
            _sureness(2 * config.max_backchannel_s - unit.length_s, config.max_backchannel_s),
            _sureness(min(before_s, after_s), needed_silence_s(unit, config)),
            1.0 if over else 0.7,  # after the other's words it may be an answer
            1.0 if unit.text else 0.7,
        )
        if side == USER:
            expect = self._resume(unit)
        else:
            window = (
                unit.start_s - config.backchannel_window_s,
                unit.start_s + config.backchannel_window_s,
            )
            expect = self._expect("backchannel", window, text=unit.text)
        return self._event(BACKCHANNELS[side], unit, unit.end_s, unit.text, expect, sure)

    def _resume(self, unit: SpeechUnit) -> ExpectLabel | None:
        """To go on, where the agent is speaking and did."""
        near_s, until_s = unit.start_s - SPEAKING_S, unit.end_s + self.config.resume_s
        agent = self.units[AGENT]
        speaking = any(a.start_s < unit.start_s and a.end_s > near_s for a in agent)
        ends = [min(a.end_s, until_s) for a in agent if a.start_s < until_s]
        last_s = max(ends, default=0.0)
        if not speaking or last_s <= unit.start_s:
            return None
        return self._expect("resume", (unit.start_s, max(last_s, unit.end_s)))

    # --- changes of speaker ------------------------------------------------------------------
    def changes(self, turns: Sequence[FloorTurn]) -> Iterator[EventLabel]:
        for held, following in pairwise(turns):
            if held.speaker == following.speaker:
                continue
            yield self._turn(held, following)
            if held.end_s - following.start_s >= self.config.interruption_s:
                yield self._interruption(held, following)

    def _turn(self, held: FloorTurn, following: FloorTurn) -> EventLabel:
        config, end_s = self.config, held.end_s
        offset_s = following.start_s - end_s
        sure = min(
            _sureness(config.longest_pause_s - offset_s, 0.0, reach=config.longest_pause_s / 2),
            _sureness(config.yield_s + offset_s, 0.0, reach=config.yield_s / 2),
        )
        expect = None
        if held.speaker == USER:
            first_s = end_s + min(0.0, offset_s - config.early_answer_s)
            last_s = end_s + max(config.answer_s, offset_s + config.late_answer_s)
            expect = self._expect("respond", (first_s, last_s))
        return self._event(TURN, held, end_s, held.text, expect, sure)

    def _interruption(self, held: FloorTurn, following: FloorTurn) -> EventLabel:
        overlap_s = held.end_s - following.start_s
        sure = _sureness(overlap_s, self.config.interruption_s)
        expect = None
        if following.speaker == USER:
            again_s = min(
                (a.start_s for a in self.units[AGENT] if a.start_s >= held.end_s),
                default=self.duration_s,
            )
            last_s = min(held.end_s + self.config.stop_margin_s, again_s)
            expect = self._expect("stop", (following.start_s, last_s))
        text = following.text
        return self._event(INTERRUPTION, following, following.end_s, text, expect, sure)

    # --- inside a turn -----------------------------------------------------------------------
    def inside(self, turn: FloorTurn) -> Iterator[EventLabel]:
        """Pauses of who holds the floor, and what the other says in vain."""
        for unit in turn.attempts:
            if _over_s(unit, self.units[turn.speaker]) >= self.config.interruption_s:
                yield self._overlap(unit)
        spoken_s = turn.units[0].end_s
        for unit in turn.units[1:]:
            if unit.start_s - spoken_s >= self.config.pause_s:
                yield from self._pause(turn.speaker, spoken_s, unit.start_s)
            spoken_s = max(spoken_s, unit.end_s)

    def _overlap(self, unit: SpeechUnit) -> EventLabel:
        over_s = _over_s(unit, self.units[_other(unit.speaker)])
        sure = _sureness(over_s, self.config.interruption_s)
        expect = self._resume(unit) if unit.speaker == USER else None
        return self._event(OVERLAP, unit, unit.end_s, unit.text, expect, sure)

    def _pause(self, speaker: str, start_s: float, end_s: float) -> Iterator[EventLabel]:
        """A pause begins once the other, too, has fallen silent."""
        other = self.units[_other(speaker)]
        heard = [o.end_s for o in other if o.start_s <= start_s < o.end_s < end_s]
        start_s = max([start_s, *heard])
        if end_s - start_s < self.config.pause_s:
            return
        silent = not any(o.start_s < end_s and start_s < o.end_s for o in other)
        expect = None
        if speaker == USER and silent:
            expect = self._expect("stay_silent", (start_s, end_s))
        sure = min(
            _sureness(end_s - start_s, self.config.pause_s),
            _sureness(self.config.longest_pause_s - (end_s - start_s), 0.0, reach=1.0),
        )
        pause = SpeechUnit(speaker=speaker, start_s=start_s, end_s=end_s, text="")
        yield self._event(PAUSE, pause, end_s, "", expect, sure)

    # --- labels ------------------------------------------------------------------------------
    def _event(
        self,
        kind: str,
        what: SpeechUnit | FloorTurn,
        end_s: float,
        text: str,
        expect: ExpectLabel | None,
        sure: float,
    ) -> EventLabel:
        return EventLabel(
            type=kind,
            start_s=round(what.start_s, DIGITS),
            end_s=round(end_s, DIGITS),
            speaker=what.speaker,
            text=text,
            expect=expect,
            confidence=round(self.evidence * sure, 3),
        )

    def _expect(self, act: str, window_s: tuple[float, float], text: str = "") -> ExpectLabel:
        first_s, last_s = max(window_s[0], 0.0), min(window_s[1], self.duration_s)
        return ExpectLabel(
            act=act, text=text, window_s=(round(first_s, DIGITS), round(last_s, DIGITS))
        )


def _sureness(value_s: float, limit_s: float, *, reach: float | None = None) -> float:
    """0.5 at a limit, 1 from `reach` above it on (None: from half the limit), between by line."""
    reach = limit_s / 2 if reach is None else reach
    return 0.5 + 0.5 * min(max((value_s - limit_s) / reach, 0.0), 1.0)


def _over_s(unit: SpeechUnit, other: Sequence[SpeechUnit]) -> float:
    """Seconds of a unit in which the other speaks."""
    shared = (min(unit.end_s, o.end_s) - max(unit.start_s, o.start_s) for o in other)
    return sum(seconds for seconds in shared if seconds > 0)


def _other(side: str) -> str:
    return AGENT if side == USER else USER


def _check_inside(units: Sequence[SpeechUnit], duration_s: float) -> None:
    for unit in units:
        if not 0 <= unit.start_s <= unit.end_s <= duration_s + 1e-3:
            raise ValueError(
                f"the {unit.speaker} speaks from {unit.start_s:.3f} to {unit.end_s:.3f} s, outside "
                f"a dialogue of {duration_s:.3f} s; cut its words to the dialogue first"
            )
