"""Two people's timing: exchange after exchange until the dialogue is over.

The user talks (prompts in their own voice), asks something, and may talk on; the agent answers.
Offsets at the changes of speaker, pauses and backchannels come from `Pace`, so they follow the laws
of `timing.human`. How much is said steers the share of overlap, and where a pause is made steers
the share of silence: both are near their targets after a few turns already. Where other segments
came before, whose turns follow rules and hardly overlap, it makes up for what they lack.

An agent that begins while the user still speaks has heard what it has to know: the question is
followed by words that add nothing.
"""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.human_timing import Pace
from microturn.datagen.dialogue.rules import RESPOND_S, STOP_S
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.turn_taking import TurnTaking
from microturn.datagen.dialogue.units import Unit, UnitBank
from microturn.datagen.labels.event_types import (
    AGENT_BACKCHANNEL,
    INTERRUPTION,
    PAUSE,
    TURN,
    USER_BACKCHANNEL,
)
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.lines import SENTENCE_S, Lines
from microturn.datagen.scenarios.turns.exchange import AgentTurn, PlacedUnit, UserTurn
from microturn.datagen.scenarios.turns.turn_taking_history import share_from_here, turn_taking_until
from microturn.datagen.scenarios.vocabulary import AT_ONCE, Question

KNOWN_S = 0.4  # from the end of the question to the answer, at least
CHANGE_S = 0.19  # overlap that one turn brings with it on average, backchannels included
PAUSE_S = 0.57  # mean of a pause
TURN_S = (1.0, 7.0)
SHORT_SHARE = 0.3  # of the questions that are answered with a word
CLOSING_S = 1.3  # the last turn is at least this long
LONG_OVERLAP_S = 0.3  # needs an answer of several words
APART_S = 0.25  # between two turns of one speaker, for them to be two
BACKCHANNEL_TAIL_S = 1.0  # the agent goes on for this long, if it has words left
LISTENED_S = 0.6  # of the agent's turn before the user says something into it
TRIES = 6
LEFT_S = 0.2  # what the last turn leaves of the dialogue, on average
PER_CHANGE_S = 4.6  # from one change of speaker to the next, on average


@register
class ConversationScenario:
    name = "conversation"
    asks = (*AT_ONCE, "count")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        vocabulary = config.vocabulary
        return Words(
            agent=config.scenarios.agent_backchannels,
            user=bank.sayable((*vocabulary.backchannels, *vocabulary.stop_words)),
        )

    def build(self, segment: SegmentBuilder, start: int) -> None:
        ConversationBuilder(segment).fill(start)


class ConversationBuilder:
    """One conversation while it is put together; all times are samples."""

    def __init__(self, segment: SegmentBuilder) -> None:
        self.segment = segment
        self.pace: Pace = segment.context.pace
        self.human = self.pace.human
        self.lines = Lines(segment)
        self.silence = 0.0  # so far
        self.overlap = 0.0
        self.agent_end = -segment.n_samples  # when the agent's last turn is over
        self.interrupted: int | None = None  # where the user began to talk into the agent's words
        self.opener: Unit | None = None  # the phrase of another speaker that begins it
        share = self.human.backchannel_share
        self.per_turn = share / (1.0 - share)
        self.backchannels_due = self.pace.even("backchannel") + self.per_turn
        self.overlapped_changes = self.human.overlapped_changes

    # --- the whole ---------------------------------------------------------------------------
    def fill(self, start: int) -> None:
        self._go_on_from(start)
        onset = start
        while True:
            change = self._user_change()
            exchange = self._exchange(onset, change)
            if exchange is None:
                break
            turn, answer, offset = exchange
            self._place_user(turn)
            self._count_change(offset)
            onset = self._place_agent(answer, change)
            self._count_change(change)
        self._close(onset)
        if not self.segment.end_sample:
            raise DoesNotFit
        self.segment.end_sample = self.segment.n_samples

    def _go_on_from(self, start: int) -> None:
        """Take over what the segments before have of everything, too much or too little."""
        taking = TurnTaking(n_samples=start, silence=start)
        if self.segment.context.script is not None:
            join = self._samples(self.human.min_pause_s)
            taking = turn_taking_until(self.segment.context.script, start, join=join)
        self.silence = float(taking.silence + self._samples(LEFT_S))
        self.overlap = float(taking.overlap)
        self.backchannels_due += self.per_turn * taking.turns - taking.backchannels
        if taking.offsets:
            ahead = (self.segment.n_samples - start) / self._samples(PER_CHANGE_S)
            offsets = [*taking.offsets, self._samples(APART_S)]  # and a gap from there to here
            self.overlapped_changes = share_from_here(offsets, self.human.overlapped_changes, ahead)

    def _exchange(self, onset: int, change: int) -> tuple[UserTurn, AgentTurn, int] | None:
        """A turn of the user with its answer, if there is room for both and a last turn."""
        room = self.segment.n_samples - self._samples(CLOSING_S) - onset
        offset = self._agent_change()
        silence, mark = self.silence, self.pace.mark()
        for attempt in range(TRIES):
            length = self._turn_length(onset) * (1.0 - attempt / (2 * TRIES))
            question = self._question(length, short=-change < self._samples(LONG_OVERLAP_S))
            turn = self._user_turn(onset, question, length - self._length(question), offset)
            planned = self.segment.plan_from(question.answer, turn.end_sample + offset)
            answer = AgentTurn(asked=turn, planned=planned)
            apart = answer.end_sample + change - turn.end_sample >= self._samples(APART_S)
            if answer.end_sample - onset <= room and apart:
                return turn, answer, offset
            self.silence = silence
            self.pace.rewind(mark)
        return None

    def _turn_length(self, now: int) -> float:
        """Samples that two turns should take for the overlap to be right after them."""
        ahead = self.overlap + 2 * self._samples(CHANGE_S)
        low, high = (2 * self._samples(seconds) for seconds in TURN_S)
        return min(max(ahead / self.human.overlap_ratio - now, low), high)

    # --- changes of speaker ------------------------------------------------------------------
    def _agent_change(self) -> int:
        return self._change("agent")

    def _user_change(self) -> int:
        return self._change("user")

    def _change(self, speaker: str) -> int:
        """Offset of a speaker who takes over: negative when both speak."""
        overlaps = self.pace.overlaps(self.overlapped_changes)
        seconds = -self.pace.overlap() if overlaps else self.pace.gap(speaker)
        return self._samples(seconds)

    def _count_change(self, offset: int) -> None:
        if offset > 0:
            self.silence += offset
        else:
            self.overlap -= offset
        self.backchannels_due += self.per_turn

    # --- the user ----------------------------------------------------------------------------
    def _question(self, length: float, *, short: bool) -> Question:
        """A question with an answer of one word, or a count of about the right length."""
        segment, rng = self.segment, self.segment.rng
        if short and segment.chance(SHORT_SHARE):
            return segment.questions.turn(rng)
        counts = [segment.questions.count(rng, shortest=3) for _ in range(4)]
        aim = length * float(rng.uniform(0.35, 0.65))
        return min(counts, key=lambda question: abs(self._length(question) - aim))

    def _length(self, question: Question) -> int:
        unit, start = self.segment.plan_from(question.answer, 0)[-1]
        return start + unit.n_samples

    def _user_turn(self, onset: int, question: Question, length: float, offset: int) -> UserTurn:
        """Lines, the question, and a line more if the agent answers before the end."""
        words = [self._unit(text) for text in question.words]
        missing = self._samples(KNOWN_S) - offset
        tag = self.lines.at_least(missing) if missing > 0 else None
        openers = [self.opener] if self.opener else []
        spoken = sum(unit.n_samples for unit in (*openers, *words)) + (tag.n_samples if tag else 0)
        least = 2.5 * SENTENCE_S[0] if self.backchannels_due >= 1.0 else 0.0
        lines = [*openers, *self.lines.about(max(length - spoken, self._samples(least)))]
        turn = UserTurn(units=[], n_lines=len(lines))
        at = onset
        for position, unit in enumerate([*lines, *words]):
            if position:
                at = self._joint(turn, at)
            turn.units.append(PlacedUnit(unit=unit, start_sample=at))
            at += unit.n_samples
        if tag is not None:
            turn.units.append(
                PlacedUnit(unit=tag, start_sample=at + self.segment.draw(self._word_gap))
            )
        return turn

    def _joint(self, turn: UserTurn, at: int) -> int:
        """Where the next unit of a turn begins: after a pause if silence is due, else at once.

        A pause is a silence of both: none while the agent still finishes its words.
        """
        share, pause = self.human.silence_ratio, self._samples(PAUSE_S)
        now = abs(self.silence - share * at)
        then = abs(self.silence + pause - share * (at + pause))
        if then >= now or at < self.agent_end:
            return at + self.segment.draw(self._word_gap)
        after = at + self._samples(self.pace.pause())
        turn.pauses.append((at, after))
        self.silence += after - at
        return after

    def _place_user(self, turn: UserTurn) -> None:
        segment = self.segment
        for placed in turn.units:
            segment.place(placed.unit, placed.start_sample, lane="user")
        for start, end in turn.pauses:
            expect = Expect(act="stay_silent", window_samples=(start, end))
            segment.event(
                Event(type=PAUSE, start_sample=start, end_sample=end, speaker="user", expect=expect)
            )
        if self.interrupted is not None:
            self._interruption_event(turn, self.interrupted)
            self.interrupted = None
        if self.backchannels_due >= 1.0:
            self._agent_backchannel(turn)

    def _interruption_event(self, turn: UserTurn, onset: int) -> None:
        window = (onset, onset + self.segment.rules.samples(STOP_S))
        self.segment.event(
            Event(
                type=INTERRUPTION,
                start_sample=turn.start_sample,
                end_sample=turn.end_sample,
                speaker="user",
                text=turn.text,
                expect=Expect(act="stop", window_samples=window),
            )
        )

    def _agent_backchannel(self, turn: UserTurn) -> None:
        """The agent says `oh` while the user tells something."""
        segment = self.segment
        texts = segment.context.config.scenarios.agent_backchannels
        unit = segment.bank.agent(texts[segment.choose(texts)])
        start = self._listening_point(turn, unit)
        if start is None:
            return
        span = segment.sound([(unit, start)])
        segment.event(
            Event(
                type=AGENT_BACKCHANNEL,
                start_sample=start,
                end_sample=span.end_sample,
                speaker="agent",
                text=span.text,
                expect=Expect(
                    act="backchannel", text=span.text, window_samples=(start, span.end_sample)
                ),
            )
        )
        self.overlap += unit.n_samples
        self.backchannels_due -= 1.0

    def _listening_point(self, turn: UserTurn, unit: Unit) -> int | None:
        """A moment in the lines of a turn, apart from pauses and from the agent's last words."""
        if not turn.n_lines:
            return None
        apart = self._samples(APART_S)
        first = max(self.agent_end + apart, turn.start_sample + self._samples(LISTENED_S))
        last = turn.units[turn.n_lines - 1].end_sample - unit.n_samples
        for _ in range(TRIES):
            if first >= last:
                break
            start = int(self.segment.rng.integers(first, last))
            end = start + unit.n_samples
            if not any(a < end and start < b for a, b in turn.pauses):
                return start
        return None

    # --- the agent ---------------------------------------------------------------------------
    def _place_agent(self, turn: AgentTurn, change: int) -> int:
        """The agent's turn, broken off by a long overlap; returns where the user goes on."""
        segment = self.segment
        stop = None
        if -change >= self._samples(self.human.interruption_s):
            stop = self._stop(turn, -change)
        end = turn.end_sample if stop is None else stop
        onset = end + change
        speech = segment.sound(turn.planned, stop=stop)
        self._turn_event(turn, speech)
        if self.backchannels_due >= 1.0:
            self._user_backchannel(turn, min(onset, end))
        self.interrupted = None if stop is None else onset
        self.opener = None if stop is None else self._opener()
        self.agent_end = end if stop is None else max(end, onset + segment.rules.samples(STOP_S))
        return onset

    def _opener(self) -> Unit | None:
        """With the share of other speakers, who say backchannels too: the phrase of one of them."""
        speaker = self.segment.speaker()
        return self.segment.stop_phrase(speaker) if speaker else None

    def _stop(self, turn: AgentTurn, overlap: int) -> int | None:
        """Where the agent falls silent: while it says one of its last words."""
        listened = turn.start_sample + self._samples(LISTENED_S)
        earliest = max(listened, turn.asked.end_sample + self._samples(APART_S)) + overlap
        first = max(earliest, turn.planned[max(len(turn.planned) - 3, 0)][1])
        last = turn.end_sample - self._samples(0.1)
        return int(self.segment.rng.integers(first, last)) if first < last else None

    def _turn_event(self, turn: AgentTurn, speech: Span) -> None:
        asked, rules = turn.asked, self.segment.rules
        last = asked.end_sample + rules.samples(RESPOND_S)
        # An answer that begins early or late opens or closes its window itself.
        window = (
            min(asked.end_sample, speech.start_sample),
            max(last, speech.start_sample + rules.step),
        )
        self.segment.event(
            Event(
                type=TURN,
                start_sample=asked.start_sample,
                end_sample=asked.end_sample,
                speaker="user",
                text=asked.text,
                expect=Expect(act="respond", text=speech.text, window_samples=window),
            )
        )

    def _user_backchannel(self, turn: AgentTurn, until: int) -> None:
        """The user says `uh huh` or the like; the agent goes on."""
        segment = self.segment
        listened = turn.start_sample + self._samples(LISTENED_S)
        first = max(listened, turn.asked.end_sample + self._samples(LONG_OVERLAP_S))
        longest = self._samples(self.human.max_backchannel_s)  # whoever says it
        last = until - longest - self._samples(LONG_OVERLAP_S)
        if first >= last:
            return
        unit = segment.backchannel(segment.speaker(), short=True)
        spoken = segment.place(unit, int(segment.rng.integers(first, last)), lane="user")
        tail = spoken.end_sample + self._samples(BACKCHANNEL_TAIL_S)
        segment.event(
            Event(
                type=USER_BACKCHANNEL,
                start_sample=spoken.start_sample,
                end_sample=spoken.end_sample,
                speaker="user",
                text=spoken.text,
                expect=Expect(act="resume", window_samples=(spoken.start_sample, min(until, tail))),
            )
        )
        self.overlap += unit.n_samples
        self.backchannels_due -= 1.0

    # --- the end -----------------------------------------------------------------------------
    def _close(self, onset: int) -> None:
        """The user talks on until the dialogue is over: it is cut out of a longer one."""
        turn, at = UserTurn(units=[]), onset
        if self.opener is not None and onset + self.opener.n_samples <= self.segment.n_samples:
            turn.units.append(PlacedUnit(unit=self.opener, start_sample=at))
            at = self._joint(turn, at + self.opener.n_samples)
        while (unit := self.lines.longest(self.segment.n_samples - at)) is not None:
            turn.units.append(PlacedUnit(unit=unit, start_sample=at))
            at = self._joint(turn, at + unit.n_samples)
        if turn.units:
            turn.pauses = [
                pause for pause in turn.pauses if pause[1] <= turn.units[-1].start_sample
            ]
            turn.n_lines = len(turn.units)
            self._place_user(turn)

    # --- small things ------------------------------------------------------------------------
    @property
    def _word_gap(self) -> tuple[float, float]:
        return self.segment.timing.word_gap_s

    def _samples(self, seconds: float) -> int:
        return self.segment.rules.samples(seconds)

    def _unit(self, text: str) -> Unit:
        return self.segment.bank.user(text, self.segment.context.voice)
