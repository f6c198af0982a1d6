"""The floor of an open dialogue: turns of whole recordings, one after the other.

Offsets at the changes of speaker and pauses inside turns come from `Pace`, the laws of
`timing.human`. The agent's turn may be broken off by the user's next one, or by a phrase that stops
it; backchannels, asides and distant voices leave it as it is. Everything is placed, so all events
are exact. All times are samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, pairwise
from typing import Final

from microturn.datagen.dialogue.cast import Cast
from microturn.datagen.dialogue.human_timing import Pace
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.rules import RESPOND_S, STOP_S
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.timeline import Event, Expect, Timeline
from microturn.datagen.dialogue.unit_pieces import divided, gaps_of
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.labels.event_types import INTERRUPTION, PAUSE, TURN
from microturn.datagen.scenarios.base import SegmentBuilder
from microturn.datagen.scenarios.open.agent_words import broken_off, text_fits
from microturn.datagen.scenarios.turns.turn_taking_history import (
    share_from_here,
    turn_taking_until,
)

FIRST_S: Final = 1.0  # of the dialogue, before which the agent says nothing
LAST_S: Final = 1.5  # of the dialogue, in which the agent begins no turn that it cannot end
STOPPABLE_S: Final = 1.6  # a shorter turn of the agent is not broken off
LEFT_S: Final = 1.2  # what the last turn leaves of the dialogue, on average
LONGER: Final = 6  # as many more pauses are made long: sound has more short ones than words do
PER_CHANGE_S: Final = 4.5  # from one change of speaker to the next, on average
PAUSE_S: Final = 0.57  # mean of a pause
JOINT_S: Final = (0.03, 0.14)  # between two lines of a turn that are no pause


class Floor:
    """Who has the floor, and since when."""

    def __init__(self, segment: SegmentBuilder, start: int) -> None:
        context = segment.context
        assert context.sources is not None, "a scenario of open speech"
        assert context.cast is not None, "a scenario of open speech"
        self.segment = segment
        self.sources: OpenSources = context.sources
        self.speech = context.sources.speech
        self.cast: Cast = context.cast
        self.pace: Pace = context.pace
        self.human = self.pace.human
        self.rules = segment.rules
        self.end = start  # of the last turn
        self.side = ""  # who had it
        self.asked: Span | None = None  # the user's turn that is not answered yet
        self.answered: Event | None = None  # the one that the agent's last turn answered
        self.length = 0  # of the last turn's last line
        self.agent_end = 0  # of its last turn
        self.quiet_until = 0  # of the agent, after an interruption
        self.interrupts_at: int | None = None  # where the user's next turn breaks in
        self._variants: dict[str, str] = {}  # of the recordings of users
        self._offset: int | None = None  # of the next change, where it is drawn already
        self._shorter = 0  # pauses below the median, more than above
        share = self.human.backchannel_share
        self.per_turn = share / (1.0 - share)
        self.backchannels_due = self.pace.even("backchannel") if self.human.enabled else 0.0
        self.silence, self.overlapped_changes = self._go_on_from(start)
        if self.human.enabled and context.script is not None:
            self._follow(context.script.timeline, start)

    # --- what was said -----------------------------------------------------------------------
    def user_unit(self, line_id: str, speaker: str = "") -> Unit:
        """A recording as the user of the dialogue, or another speaker, says it."""
        speaker = speaker or self.cast.user
        if speaker == self.cast.user:
            self._variants[speaker] = self.cast.variant
        if speaker not in self._variants:
            self._variants[speaker] = self.segment.variant()
        return self.speech.user_unit(line_id, self._variants[speaker])

    def samples(self, seconds: float) -> int:
        return self.rules.samples(seconds)

    # --- the user ----------------------------------------------------------------------------
    def user(self, units: Iterable[Unit], *, asks: bool = True) -> Span | None:
        """The user's next turn: as many of these units as fit, with pauses between them.

        No unit is asked for before the ones before it are placed.

        `asks`: the agent's next turn is its answer. Returns None if not even the first one fits.
        """
        lines = iter(units)
        first = next(lines)
        segment, at = self.segment, self._onset("user", first)
        placed: list[Span] = []
        shortest = self.samples(self.human.min_pause_s)
        for line in chain((first,), lines):
            begin = self.joint(at) if placed else at
            unit = self._until_the_end(line, begin)
            if unit is None:
                break
            if placed and at >= self.agent_end and begin - at >= shortest:
                self.pause(at, begin)
            placed.append(segment.place(unit, begin, lane="user"))
            at = placed[-1].end_sample
            self._took("user", at, unit)
            if unit is not line:
                break
        if not placed:
            return None
        self.answered = None
        text = " ".join(span.text for span in placed)
        span = Span(start_sample=placed[0].start_sample, end_sample=at, text=text)
        if self.interrupts_at is not None:
            self.interruption(span)
        if asks:
            self.asked = span
        return span

    def _until_the_end(self, unit: Unit, at: int) -> Unit | None:
        """A line, or as much of it as is over before the dialogue is; None if nothing fits."""
        room, rate = self.segment.n_samples - at, self.rules.rate
        if unit.n_samples <= room:
            return unit
        trim_db = self.segment.context.config.voices.trim_db
        fitting = [gap for gap in gaps_of(unit, rate) if unit.words[gap].start_sample <= room]
        return divided(unit, fitting[-1:], rate=rate, trim_db=trim_db)[0] if fitting else None

    def asks(self, span: Span) -> None:
        """A text has arrived that the agent's next turn answers."""
        self.asked, self.answered = span, None

    def pause(self, start: int, end: int) -> None:
        """The user hesitates."""
        expect = Expect(act="stay_silent", window_samples=(start, end))
        self.segment.event(
            Event(type=PAUSE, start_sample=start, end_sample=end, speaker="user", expect=expect)
        )

    def interruption(self, span: Span) -> None:
        """The user has taken the floor while the agent spoke."""
        onset = span.start_sample
        last = onset + self.samples(float(STOP_S))
        self.segment.event(
            Event(
                type=INTERRUPTION,
                start_sample=onset,
                end_sample=span.end_sample,
                speaker="user",
                text=span.text,
                expect=Expect(act="stop", window_samples=(onset, last)),
            )
        )
        self.quiet_until = max(self.quiet_until, last)
        self.interrupts_at = None

    def stopped_by(self, span: Span) -> None:
        """The user has stopped the agent with a phrase and has the floor."""
        self.side, self.end, self.answered = "user", span.end_sample, None
        self.length = span.end_sample - span.start_sample

    def talked_until(self, sample: int) -> None:
        """The user has said something else until a sample, and says nothing before that."""
        self.end = max(self.end, sample)

    def wait(self, n_samples: int) -> None:
        """Nobody says anything for a while; then anybody may begin."""
        self.side, self.end = "", max(self.end, self.quiet_until) + n_samples
        self.silence += n_samples

    # --- the agent ---------------------------------------------------------------------------
    def plan(
        self, units: Sequence[Unit], *, at: int | None = None, may_overlap: bool = True
    ) -> list[tuple[Unit, int]]:
        """When the agent says each of these lines in its next turn, which may begin at a time."""
        if at is None:
            at = self._onset("agent", units[0], may_overlap=may_overlap)
        planned: list[tuple[Unit, int]] = []
        for number, unit in enumerate(units):
            if number:
                at = self.joint(at)
            planned.append((unit, at))
            at += unit.n_samples
        return planned

    def fitting(self, planned: Sequence[tuple[Unit, int]]) -> list[tuple[Unit, int]]:
        """Those of the planned lines that are over before the dialogue is."""
        return [(u, start) for u, start in planned if start + u.n_samples <= self.segment.n_samples]

    def agent(self, planned: Sequence[tuple[Unit, int]], *, stop: int | None = None) -> Span:
        """The agent says what was planned; at sample `stop` it falls silent."""
        n_words = len(self.segment.timeline.agent)
        stop = stop if stop is None else broken_off(planned, stop, rate=self.rules.rate)
        spoken = self.segment.sound(list(planned), stop=stop)
        words = self.segment.timeline.agent[n_words:]
        span = Span(
            start_sample=spoken.start_sample,
            end_sample=spoken.end_sample,
            text=" ".join(word.text for word in words),
        )
        if self.asked is not None:
            self._answered(self.asked, span)
            self.asked = None
        elif self.answered is not None:
            self._answered_on(self.answered, span)
        self.agent_end = span.end_sample
        self._took("agent", span.end_sample, planned[-1][0])
        return span

    def talk_to_the_end(self, planned: Sequence[tuple[Unit, int]]) -> None:
        """The agent says as much as there is time for, if that is enough to be heard."""
        begun = [(unit, start) for unit, start in planned if start < self.segment.n_samples]
        if planned[0][1] + self.samples(LAST_S) < self.segment.n_samples:
            self.agent(begun, stop=self.segment.n_samples)

    def _answered(self, asked: Span, speech: Span) -> None:
        last = asked.end_sample + self.rules.samples(RESPOND_S)
        # An answer that begins early or late opens or closes its window itself.
        window = (
            min(asked.end_sample, speech.start_sample),
            max(last, speech.start_sample + self.rules.step),
        )
        self.segment.user_event(TURN, asked, "respond", window, speech.text)
        self.answered = self.segment.timeline.events[-1]

    def _answered_on(self, event: Event, speech: Span) -> None:
        """The agent says more, unasked: it belongs to the answer that it has given."""
        assert event.expect is not None
        expect = replace(event.expect, text=f"{event.expect.text} {speech.text}")
        self.answered = replace(event, expect=expect)
        events = self.segment.timeline.events
        events[events.index(event)] = self.answered

    def breaks_in(self, planned: Sequence[tuple[Unit, int]], unit: Unit) -> int | None:
        """Draw the next change: where the agent stops, if the user's next line breaks in.

        An overlap from `timing.human.interruption_s` on breaks the agent off.
        """
        self._offset = self._draw("user")
        start, end = planned[0][1], _end(planned)
        overlap = -self._offset
        if overlap < self.samples(self.human.interruption_s):
            return None
        self._offset = None
        first = max(start + self.samples(STOPPABLE_S), start + 2 * overlap)
        last = end - self.samples(0.1)
        onset_first = first - overlap
        if first >= last or onset_first < (self.asked.end_sample if self.asked else 0):
            return None
        stop = int(self.segment.rng.integers(first, last))
        if stop - overlap + unit.n_samples > self.segment.n_samples:
            return None
        self.interrupts_at = stop - overlap
        return stop

    # --- times -------------------------------------------------------------------------------
    def begins(self, side: str, unit: Unit) -> int:
        """Where the next turn of a side begins, which is placed without this floor."""
        return self._onset(side, unit)

    def _onset(self, side: str, unit: Unit, *, may_overlap: bool = True) -> int:
        """Where a turn of a side begins."""
        earliest = self.quiet_until if side == "agent" else 0
        if side == "agent":
            said = self.agent_end + self.samples(JOINT_S[1]) if self.agent_end else 0
            earliest = max(earliest, said, self.samples(FIRST_S))
        if not self.side:
            return self._turn_at(side, max(self.end, earliest))
        if side == "user" and self.interrupts_at is not None:
            return self.interrupts_at
        if side == self.side:
            onset = self.joint(self.end)
        else:
            offset = self._draw(side) if self._offset is None else self._offset
            self._offset = None
            if offset < 0 and not may_overlap:
                offset = self.samples(self.pace.gap(side))
            longest = min(self.length, unit.n_samples) // 2
            onset = self._turn_at(side, max(self.end + max(offset, -longest), earliest))
            self.silence += max(onset - self.end, 0)
        return max(onset, earliest)

    def _turn_at(self, side: str, sample: int) -> int:
        """Where a turn begins that is due at a sample: the agent's may wait for the clock."""
        if side == "agent" and self.rules.on_grid:
            return self.rules.boundary(self.rules.next_boundary(sample))
        return sample

    def _draw(self, side: str) -> int:
        """Offset of a speaker who takes over: negative when both speak."""
        seconds = (
            -self.pace.overlap()
            if self.pace.overlaps(self.overlapped_changes)
            else self.pace.gap(side)
        )
        return self.samples(seconds)

    def joint(self, at: int) -> int:
        """Where the next line of a turn begins: after a pause if silence is due, else at once."""
        pause = self.samples(PAUSE_S)
        share = self.human.silence_ratio
        now, then = abs(self.silence - share * at), abs(self.silence + pause - share * (at + pause))
        if self.human.enabled and then >= now:
            return at + self.segment.draw(JOINT_S)
        return at + self.pause_length()

    def pause_length(self) -> int:
        """Draw a pause inside a turn.

        With people's timing it makes up for those inside of recordings: after shorter ones than the
        median, a short one is mirrored at it.
        """
        seconds, median = self.pace.pause(), self.human.pause_median_s
        if self.human.enabled and self._shorter > -LONGER and seconds < median:
            seconds = min(median * median / seconds, self.human.longest_gap_s)
        self._shorter += 1 if seconds < median else -1
        length = self.samples(seconds)
        self.silence += length
        return length

    def _count_silences(self, unit: Unit) -> None:
        """Count what is silent inside of a recording."""
        shortest, median = (
            self.samples(s) for s in (self.human.min_pause_s, self.human.pause_median_s)
        )
        for before, after in pairwise(unit.words):
            gap = after.start_sample - before.end_sample
            if gap >= shortest:
                self.silence += gap
                self._shorter += 1 if gap < median else -1

    def _took(self, side: str, end: int, unit: Unit) -> None:
        self._count_silences(unit)
        if self.human.enabled and side != self.side:
            self.backchannels_due += self.per_turn
        self.side, self.end, self.length = side, end, unit.n_samples

    def _follow(self, before: Timeline, start: int) -> None:
        """Begin as the next turn of what was said before, if nothing else is kept free between."""
        said = [
            (max(word.end_sample for word in words), side)
            for side in ("user", "agent")
            if (words := before.words(side))
        ]
        if not said:
            return
        end, side = max(said)
        is_opening = any(first == 0 and end <= last for first, last in before.without_loss)
        if not is_opening and start - end <= self.samples(self.segment.timing.gap_s[1]) + 1:
            self.end, self.side, self.length = end, side, self.samples(2 * LAST_S)
        stops = [
            e.expect.window_samples[1] for e in before.events if e.type == INTERRUPTION and e.expect
        ]
        self.quiet_until = max(stops, default=0)
        self.agent_end = max((word.end_sample for word in before.agent), default=0)

    def _go_on_from(self, start: int) -> tuple[float, float]:
        """The silence so far, and the share of changes from here on that overlap.

        It makes up for what the segments before have too much or too little.
        """
        script, share = self.segment.context.script, self.human.overlapped_changes
        left = self.samples(LEFT_S)
        if script is None or not self.human.enabled:
            return float(start + left), share
        taking = turn_taking_until(script, start, join=self.samples(self.human.min_pause_s))
        missing = self.per_turn * taking.turns - taking.backchannels
        self.backchannels_due += min(max(missing, -2.0), 2.0)
        if not taking.offsets:
            return float(taking.silence + left), share
        ahead = (self.segment.n_samples - start) / self.samples(PER_CHANGE_S)
        return float(taking.silence + left), share_from_here(taking.offsets, share, ahead)

    # --- the end -----------------------------------------------------------------------------
    def close(self) -> None:
        """Refuse a segment that is empty, or whose words leave the text lane no time."""
        context = self.segment.context
        script = context.script
        before = [script.timeline] if script is not None else []
        fits = text_fits([*before, self.segment.timeline], context)
        if not self.segment.end_sample or not fits:
            raise DoesNotFit


def _end(planned: Sequence[tuple[Unit, int]]) -> int:
    unit, start = planned[-1]
    return start + unit.n_samples
