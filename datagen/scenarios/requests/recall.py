"""Something said before matters again: a memory, an instruction, an own answer, an edited request.

memory       `password is seven four`, other questions, `password`: `seven four`
instruction  `thank you added`: every answer ends in `thank you`, until `thank you removed`
coherence    a question and its answer, then `last`: the same answer
edit         `monday tomorrow`, answered, then `and friday`: `saturday`
pending      `five seconds monday`, then `no tuesday`: at that time `tuesday`
"""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import CUE_EARLY_S, CUE_LATE_S
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import TIMED_CUE, TURN
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.vocabulary import AT_ONCE, Question

KINDS = ("memory", "instruction", "coherence", "edit", "pending")
IS, SAVED, ADDED, REMOVED, LAST, AND, NO = "is", "saved", "added", "removed", "last", "and", "no"
GAP_S = (0.4, 1.2)  # between an answer and the next request
MAX_BETWEEN = 2  # questions between what is said and its recall
EDIT_GAP_S = (0.3, 1.0)
MIN_LEFT_S = 0.8  # from an edit to the time at which its word is due
MAX_CUE = 6


@register
class RecallScenario:
    name = "recall"
    asks = (*AT_ONCE, "cue")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        options = config.scenarios
        return Words(
            agent=(SAVED, ADDED, REMOVED, *options.suffixes),
            user=(*options.slots, *options.suffixes, IS, ADDED, REMOVED, LAST, AND, NO),
        )

    def build(self, segment: SegmentBuilder, start: int) -> None:
        getattr(self, f"_{KINDS[segment.choose(KINDS)]}")(segment, start)

    def _memory(self, segment: SegmentBuilder, start: int) -> None:
        slots, numbers = (
            segment.context.config.scenarios.slots,
            segment.questions.vocabulary.numbers,
        )
        slot = slots[segment.choose(slots)]
        value = tuple(numbers[segment.choose(numbers)] for _ in range(2))
        end = _exchange(segment, start, (slot, IS, *value), (SAVED,), event=TURN)
        end = _others(segment, end, segment.whole((0, MAX_BETWEEN)))
        _exchange(segment, end + segment.draw(GAP_S), (slot,), value, event=self.name)

    def _instruction(self, segment: SegmentBuilder, start: int) -> None:
        suffixes = segment.context.config.scenarios.suffixes
        suffix = suffixes[segment.choose(suffixes)]
        end = _exchange(segment, start, (suffix, ADDED), (ADDED,), event=TURN)
        for _ in range(segment.whole((1, MAX_BETWEEN))):
            question = segment.questions.turn(segment.rng)
            asked = segment.ask(question, end + segment.draw(GAP_S), may_pause=False)
            end = segment.react(asked, (*question.answer, suffix), event=self.name).end_sample
        start = end + segment.draw(GAP_S)
        _exchange(segment, start, (suffix, REMOVED), (REMOVED,), event=TURN)

    def _coherence(self, segment: SegmentBuilder, start: int) -> None:
        question = segment.questions.turn(segment.rng)
        answered = segment.answer(question, segment.ask(question, start))
        start = answered.end_sample + segment.draw(GAP_S)
        _exchange(segment, start, (LAST,), question.answer, event=self.name)

    def _edit(self, segment: SegmentBuilder, start: int) -> None:
        days = segment.questions.vocabulary.days
        if len(days) < 2:
            raise DoesNotFit
        first = segment.questions.day(segment.rng)
        answered = segment.answer(first, segment.ask(first, start))
        while True:
            edited = segment.questions.day(segment.rng)
            changed = [i for i in range(2) if edited.words[i] != first.words[i]]
            if len(changed) == 1:
                break
        words = (AND, edited.words[changed[0]])
        start = answered.end_sample + segment.draw(GAP_S)
        _exchange(segment, start, words, edited.answer, event=self.name)

    def _pending(self, segment: SegmentBuilder, start: int) -> None:
        """A word that was asked for at a time is changed before that time."""
        rules, v = segment.rules, segment.questions.vocabulary
        longest = min(MAX_CUE, len(v.numbers))
        seconds = segment.whole((min(4, longest), longest))
        first, second = (v.cue_words[i] for i in segment.rng.permutation(len(v.cue_words))[:2])
        words = (v.numbers[seconds - 1], "seconds", first)
        asked = segment.ask(Question(kind="cue", words=words, answer=(second,)), start)
        segment.user_event(TIMED_CUE, asked, "", (0, 0))
        at = asked.end_sample + segment.draw(EDIT_GAP_S)
        spans = segment.recite((NO, second), at)
        edit = Span(start_sample=at, end_sample=spans[-1].end_sample, text=f"{NO} {second}")
        due = asked.end_sample + rules.samples(seconds)
        if edit.end_sample + rules.samples(MIN_LEFT_S) > due:
            raise DoesNotFit
        segment.say((second,), rules.cue(asked.end_sample, seconds))
        window = (due - rules.samples(CUE_EARLY_S), due + rules.samples(CUE_LATE_S))
        segment.user_event(self.name, edit, "say", window, second)


def _exchange(
    segment: SegmentBuilder,
    start: int,
    words: tuple[str, ...],
    answer: tuple[str, ...],
    *,
    event: str,
) -> int:
    """The user says words, the agent answers; returns the end of the answer."""
    spans = segment.recite(words, start)
    asked = Span(start_sample=start, end_sample=spans[-1].end_sample, text=" ".join(words))
    return segment.react(asked, answer, event=event).end_sample


def _others(segment: SegmentBuilder, end: int, n: int) -> int:
    """Some questions in between."""
    for _ in range(n):
        question = segment.questions.turn(segment.rng)
        asked = segment.ask(question, end + segment.draw(GAP_S), may_pause=False)
        end = segment.answer(question, asked).end_sample
    return end
