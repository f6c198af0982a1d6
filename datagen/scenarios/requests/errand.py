"""A request that takes the background agent a while, and what happens meanwhile.

The user may ask other things, which are answered first, or call the errand off; when it has been
silent for long, the agent says a filler; the result is said at the first free moment. In a share of
the errands (`scenarios.progress_share`) the background agent tells how far it is, of which the
agent says nothing until the user asks.
"""

from __future__ import annotations

from dataclasses import dataclass

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import CUE_EARLY_S, CUE_LATE_S, RESPOND_S, RESULT_S, YIELD_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import DELEGATION, RESULT, TURN
from microturn.datagen.scenarios.base import SegmentBuilder, Words, failure_words, register
from microturn.datagen.scenarios.vocabulary import AT_ONCE, Question
from microturn.model.streams import progress_text, result_text

CALL_OFF, CALLED_OFF = ("no", "thank you"), "cancelled"
REPORTS = (1, 2)  # of the progress of one errand
REPORT_GAP_S = (0.2, 0.9)  # before each of them, and before the user asks
LEFT = "seconds"  # what a report counts


@dataclass(kw_only=True)
class _Wait:
    """How things stand while the background agent works; all in samples."""

    task: Question
    arrival: int
    n_questions: int
    quiet_from: int  # when the last of both fell silent
    filled: bool = False


@register
class ErrandScenario:
    name = "errand"
    asks = (*AT_ONCE, "task")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        options = config.scenarios
        agent = [options.filler, CALLED_OFF, *failure_words(config).agent]
        user = list(CALL_OFF)
        if options.progress_share:
            agent += [*config.vocabulary.numbers, LEFT]
            user.append(options.progress_request)
        return Words(agent=tuple(agent), user=tuple(user))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options, rules = segment.context.config.scenarios, segment.rules
        task = segment.worked_out(segment.questions.task(segment.rng))
        acknowledgement = segment.questions.vocabulary.acknowledgement
        asked = segment.ask(task, start)
        reply = rules.reply(asked.end_sample)
        segment.delegate(reply)
        speech = segment.say((acknowledgement,), reply)
        window = (asked.end_sample, asked.end_sample + rules.samples(RESPOND_S))
        segment.user_event(DELEGATION, asked, "delegate", window, acknowledgement)
        wait = _Wait(
            task=task,
            arrival=speech.start_sample + segment.draw(options.tool_latency_s),
            n_questions=segment.whole(options.errand_questions),
            quiet_from=speech.end_sample,
        )
        if segment.chance(options.cancel_probability):
            self._call_off(segment, wait)
            return
        if segment.chance_apart(options.progress_share):
            self._ask_how_far(segment, wait)
        while not self._step(segment, wait):
            pass

    def _step(self, segment: SegmentBuilder, wait: _Wait) -> bool:
        """What happens first: a question, a filler or the result; True when that was the result."""
        options, rules = segment.context.config.scenarios, segment.rules
        # Known is what arrived a micro-turn ago; the message itself is placed at the end.
        known = segment.known_at(result_text(_message(wait)), wait.arrival)
        result = rules.boundary(max(known, rules.free(wait.quiet_from)))
        filler = rules.boundary(
            rules.next_boundary(wait.quiet_from + rules.samples(options.filler_after_s))
        )
        noticed = rules.samples(YIELD_S)
        question = wait.quiet_from + segment.draw(options.errand_gap_s)
        if wait.n_questions and question + noticed < min(result, filler):
            self._question(segment, wait, question)
            return False
        if not wait.filled and filler < result:
            self._fill(segment, wait, filler)
            return False
        self._result(segment, wait, result)
        return True

    def _ask_how_far(self, segment: SegmentBuilder, wait: _Wait) -> None:
        """Reports arrive, of numbers that fall; the user asks, and the newest is the answer."""
        options, rules = segment.context.config.scenarios, segment.rules
        numbers = segment.context.config.vocabulary.numbers
        # Silence must not grow so long that the filler is due.
        latest = wait.quiet_from + rules.samples(options.filler_after_s - YIELD_S)
        at, answer = wait.quiet_from, tuple[str, ...]()
        drawn = sorted(
            (segment.choose(numbers) for _ in range(segment.whole(REPORTS))), reverse=True
        )
        for k, number in enumerate(drawn):
            told = (numbers[number], LEFT)
            text, arrival = progress_text(" ".join(told)), at + segment.draw(REPORT_GAP_S)
            known = rules.boundary(segment.known_at(text, arrival))
            if k and known + rules.samples(REPORT_GAP_S[0]) > latest:
                break
            segment.tell(text, arrival)
            at, answer = known, told
        question = Question(kind="progress", words=(options.progress_request,), answer=answer)
        start = min(at + segment.draw(REPORT_GAP_S), max(at, latest))
        asked = segment.ask(question, start, may_pause=False)
        wait.quiet_from = segment.answer(question, asked).end_sample
        # A result that arrives before would be the better answer.
        wait.arrival = max(wait.arrival, wait.quiet_from + segment.draw(REPORT_GAP_S))

    def _question(self, segment: SegmentBuilder, wait: _Wait, start: int) -> None:
        question = segment.questions.turn(segment.rng)
        asked = segment.ask(question, start, may_pause=False)
        wait.quiet_from = segment.answer(question, asked).end_sample
        wait.n_questions -= 1

    def _fill(self, segment: SegmentBuilder, wait: _Wait, at: int) -> None:
        rules = segment.rules
        filler = segment.context.config.scenarios.filler
        spoken = segment.say((filler,), at // rules.step)
        window = (at - rules.samples(CUE_EARLY_S), at + rules.samples(CUE_LATE_S))
        segment.event(
            Event(
                type=DELEGATION,
                start_sample=at,
                end_sample=at,
                speaker="background_agent",
                expect=Expect(act="say", text=filler, window_samples=window),
            )
        )
        wait.quiet_from, wait.filled = spoken.end_sample, True

    def _result(self, segment: SegmentBuilder, wait: _Wait, at: int) -> None:
        rules, text = segment.rules, _message(wait)
        segment.arrive(text, wait.arrival)
        segment.say(wait.task.answer, at // rules.step)
        free = at - rules.step
        segment.event(
            Event(
                type=RESULT,
                start_sample=wait.arrival,
                end_sample=wait.arrival,
                speaker="background_agent",
                text=text,
                expect=Expect(
                    act="say", text=text, window_samples=(free, free + rules.samples(RESULT_S))
                ),
            )
        )

    def _call_off(self, segment: SegmentBuilder, wait: _Wait) -> None:
        """The user wants it no more: the agent cancels, and no result is said."""
        start = wait.quiet_from + segment.draw(segment.context.config.scenarios.errand_gap_s)
        spans = segment.recite(CALL_OFF, start)
        speech = Span(start_sample=start, end_sample=spans[-1].end_sample, text=" ".join(CALL_OFF))
        segment.cancel(segment.rules.reply(speech.end_sample))
        segment.react(speech, (CALLED_OFF,), event=TURN)


def _message(wait: _Wait) -> str:
    return " ".join(wait.task.answer)
