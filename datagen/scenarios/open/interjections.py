"""What is said into the agent's words in open speech; who says it is drawn alike for every kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from microturn.datagen.dialogue.expectations import MIN_LEFT_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.dialogue.voice_mixture import ASIDE_S
from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    BACKGROUND_SPEECH,
    SIDE_TALK,
    USER_BACKCHANNEL,
    VOCAL_TIC,
)
from microturn.datagen.scenarios.open.floor import Floor
from microturn.model.streams import normalise

LISTENED_S: Final = 0.6  # of the agent's turn before somebody says something into it
APART_S: Final = 0.2  # from a backchannel of the agent to the end of the user's turn
LEFT_S: Final = 1.0  # of the turn after that, at least
ROOM_S: Final = 4.5  # of the dialogue from there on: enough for everything that is said
TAIL_S: Final = 1.0  # how long after a backchannel the agent must still be heard, if it has words


@dataclass(frozen=True, kw_only=True)
class HeldTurn:
    """A turn of the agent: what it said of it, and the line in which it was stopped, if it was."""

    span: Span
    stopped: int | None = None


class Interjections:
    """Draws and places them; kinds that nobody has recorded do not occur."""

    def __init__(self, floor: Floor, *, may_stop: bool = True) -> None:
        self._floor = floor
        self._segment = floor.segment
        speech, cast = floor.speech, floor.cast
        self._speakers = speech.interjectors(cast.agent)
        config = floor.segment.context.config
        self._weights = dict(config.scenarios.interjections)
        self._other_share = config.voices.other_share
        self._others = [name for name in speech.partners(cast.agent) if name != cast.user]
        if not self._speakers:
            self._weights |= {"stop": 0.0, "backchannel": 0.0}
        if not may_stop:
            self._weights["stop"] = 0.0
        self._may_agree = self._weights["backchannel"] > 0
        if floor.human.enabled:  # as many as people have: where they are due
            self._weights["backchannel"] = 0.0
        if cast.user == cast.agent or not _asides(floor, cast.user):
            self._weights["aside"] = 0.0
        if not any(speech.speakers[name].has_asides for name in self._others):
            self._weights["voice"] = 0.0

    def hold(self, planned: Sequence[tuple[Unit, int]]) -> HeldTurn:
        """The agent says what was planned, and something happens into it, or nothing."""
        kind, onset = self._kind(), self._onset(planned)
        if onset is None or kind == "nothing":
            return HeldTurn(span=self._floor.agent(planned))
        held: HeldTurn = getattr(self, f"_{kind}")(planned, onset)
        return held

    def listen(self, turn: Span) -> None:
        """The agent says a backchannel into a turn of the user, where people's timing has one."""
        floor, segment = self._floor, self._segment
        speaker = floor.speech.agent(floor.cast.agent)
        own = () if speaker is None else speaker.backchannels
        if floor.backchannels_due < 1.0 or not own:
            return
        unit = floor.speech.agent_unit(own[segment.choose(own)])
        first = max(turn.start_sample, floor.agent_end) + floor.samples(LISTENED_S)
        last = turn.end_sample - unit.n_samples - floor.samples(APART_S)
        if first >= last or unit.n_samples > floor.samples(floor.human.max_backchannel_s):
            return
        start = int(segment.rng.integers(first, last))
        end = start + unit.n_samples
        windows = [e.expect.window_samples for e in segment.timeline.events if e.expect is not None]
        if any(a < end and start < b for a, b in windows):
            return
        spoken = segment.sound([(unit, start)])
        expect = Expect(act="backchannel", text=spoken.text, window_samples=(start, end))
        segment.event(
            Event(
                type=AGENT_BACKCHANNEL,
                start_sample=start,
                end_sample=end,
                speaker="agent",
                text=spoken.text,
                expect=expect,
            )
        )
        floor.agent_end = max(floor.agent_end, end)
        floor.backchannels_due -= 1.0

    def _kind(self) -> str:
        if self._may_agree and self._floor.backchannels_due >= 1.0:
            return "backchannel"
        kinds = [name for name, weight in self._weights.items() if weight > 0]
        if not kinds:
            return "nothing"
        weights = [self._weights[name] for name in kinds]
        total = sum(weights)
        return str(self._segment.rng.choice(kinds, p=[weight / total for weight in weights]))

    def _onset(self, planned: Sequence[tuple[Unit, int]]) -> int | None:
        """A drawn moment in the turn, where there is room for everything that is said."""
        floor, (unit, start) = self._floor, planned[-1]
        asked = floor.asked.end_sample if floor.asked else 0
        first = max(planned[0][1] + floor.samples(LISTENED_S), asked + floor.samples(LISTENED_S))
        last = start + unit.n_samples - floor.samples(LEFT_S)
        room = self._segment.n_samples - floor.samples(ROOM_S)
        if first >= last or first >= room:
            return None
        return int(self._segment.rng.integers(first, min(last, room)))

    # --- kinds -------------------------------------------------------------------------------
    def _stop(self, planned: Sequence[tuple[Unit, int]], onset: int) -> HeldTurn:
        floor, speaker = self._floor, self._speaker()
        unit = self._one_of(floor.speech.speakers[speaker].stops, speaker)
        stop = self._segment.rules.boundary(self._segment.give_way(onset))
        held = floor.agent(planned, stop=stop)
        span = self._segment.place(unit, onset, lane="user")
        floor.interruption(span)
        floor.stopped_by(span)
        ends = [start + line.n_samples for line, start in planned]
        return HeldTurn(span=held, stopped=next(i for i, end in enumerate(ends) if end > stop))

    def _backchannel(self, planned: Sequence[tuple[Unit, int]], onset: int) -> HeldTurn:
        floor, speaker = self._floor, self._speaker()
        unit = self._one_of(floor.speech.speakers[speaker].backchannels, speaker)
        spoken = self._segment.place(unit, onset, lane="user")
        held = floor.agent(planned)
        tail = min(held.end_sample, spoken.end_sample + floor.samples(TAIL_S))
        window = (onset, max(tail, spoken.end_sample))
        floor.backchannels_due -= 1.0
        self._segment.user_event(USER_BACKCHANNEL, spoken, "resume", window)
        return HeldTurn(span=held)

    def _aside(self, planned: Sequence[tuple[Unit, int]], onset: int) -> HeldTurn:
        floor, options = self._floor, self._segment.context.config.scenarios
        gain = float(self._segment.rng.uniform(*options.side_talk_db))
        unit = self._one_of(_asides(floor, floor.cast.user), floor.cast.user)
        (last, begin), before = planned[-1], floor.samples(MIN_LEFT_S)
        if floor.human.enabled and onset + unit.n_samples + before > begin + last.n_samples:
            return HeldTurn(span=floor.agent(planned))  # no change of speaker that people make
        talk = self._segment.place(unit, onset, lane="user", gain_db=gain)
        held = floor.agent(planned)
        window = (onset, self._over(held, talk))
        self._segment.user_event(SIDE_TALK, talk, "resume", window)
        floor.talked_until(talk.end_sample)
        return HeldTurn(span=held)

    def _voice(self, planned: Sequence[tuple[Unit, int]], onset: int) -> HeldTurn:
        floor, config = self._floor, self._segment.context.config
        speakers = floor.speech.speakers
        names = [name for name in self._others if speakers[name].has_asides]
        name = names[self._segment.choose(names)]
        unit = self._one_of(_asides(floor, name), name)
        gain = float(self._segment.rng.uniform(*config.channel.background_db))
        span = self._segment.place(unit, onset, lane="background", gain_db=gain)
        held = floor.agent(planned)
        expect = Expect(act="resume", window_samples=(onset, self._over(held, span)))
        self._segment.event(
            Event(
                type=BACKGROUND_SPEECH,
                start_sample=onset,
                end_sample=span.end_sample,
                speaker="background",
                text=normalise(span.text),
                expect=expect,
            )
        )
        return HeldTurn(span=held)

    def _tic(self, planned: Sequence[tuple[Unit, int]], onset: int) -> HeldTurn:
        floor, segment, cast = self._floor, self._segment, self._floor.cast
        mixture = segment.context.mixture
        unit = mixture.tic(segment.rng, into=True, agent=cast.agent, user=cast.user)
        if unit is None:
            return HeldTurn(span=floor.agent(planned))
        tic = segment.place(unit, onset, lane="user")
        held = floor.agent(planned)
        tail = min(held.end_sample, tic.end_sample + floor.samples(TAIL_S))
        segment.user_event(VOCAL_TIC, tic, "resume", (onset, max(tail, tic.end_sample)))
        floor.talked_until(tic.end_sample)
        return HeldTurn(span=held)

    # --- who and what ------------------------------------------------------------------------
    def _over(self, held: Span, span: Span) -> int:
        """Where the window of something said over the agent closes: it speaks until then."""
        margin = self._floor.samples(MIN_LEFT_S)
        return max(min(span.end_sample, held.end_sample), span.start_sample + margin)

    def _speaker(self) -> str:
        """The user, or with `voices.other_share` another who stops it and agrees."""
        own = self._floor.cast.user in self._speakers
        other = self._segment.chance(self._other_share)
        number = self._segment.choose(self._speakers)
        return self._speakers[number] if other or not own else self._floor.cast.user

    def _one_of(self, line_ids: Sequence[str], speaker: str) -> Unit:
        return self._floor.user_unit(line_ids[self._segment.choose(line_ids)], speaker)


def _asides(floor: Floor, name: str) -> list[str]:
    """Lines of a speaker that can be said aside."""
    shortest, longest = ASIDE_S
    lines = floor.speech.speakers[name].told
    return [line.id for line in lines if shortest <= line.duration_s <= longest]
