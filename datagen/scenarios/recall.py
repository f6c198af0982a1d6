"""Something said before matters again: a memory, an instruction, an own answer, an edited request.

memory       `password is seven four`, other questions, `password`: `seven four`
instruction  `thank you added`: every answer ends in `thank you`, until `thank you removed`
coherence    a question and its answer, then `last`: the same answer
edit         `monday tomorrow`, answered, then `and friday`: `saturday`
pending      `five seconds monday`, then `no tuesday`: at that time `tuesday`
"""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.rules import CUE_EARLY_S, CUE_LATE_S
from microturn.datagen.scenarios.base import DoesNotFit, Span, Stage, Words, register
from microturn.datagen.scenarios.vocabulary import Question
from microturn.datagen.units import UnitBank

KINDS = ("memory", "instruction", "coherence", "edit", "pending")
IS, SAVED, ADDED, REMOVED, LAST, AND, NO = "is", "saved", "added", "removed", "last", "and", "no"
GAP_S = (0.4, 1.2)  # between an answer and the next request
MOST_BETWEEN = 2  # questions between what is said and its recall
EDIT_GAP_S = (0.3, 1.0)
LEAST_LEFT_S = 0.8  # from an edit to the time at which its word is due
LONGEST_CUE = 6


@register
class Recall:
    name = "recall"

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        options = config.scenarios
        return Words(
            agent=(SAVED, ADDED, REMOVED, *options.suffixes),
            user=(*options.slots, *options.suffixes, IS, ADDED, REMOVED, LAST, AND, NO),
        )

    def build(self, stage: Stage, start: int) -> None:
        getattr(self, f"_{KINDS[stage.choose(KINDS)]}")(stage, start)

    def _memory(self, stage: Stage, start: int) -> None:
        slots, numbers = stage.cast.config.scenarios.slots, stage.questions.vocabulary.numbers
        slot = slots[stage.choose(slots)]
        value = tuple(numbers[stage.choose(numbers)] for _ in range(2))
        end = _exchange(stage, start, (slot, IS, *value), (SAVED,), event="turn")
        end = _others(stage, end, stage.whole((0, MOST_BETWEEN)))
        _exchange(stage, end + stage.draw(GAP_S), (slot,), value, event=self.name)

    def _instruction(self, stage: Stage, start: int) -> None:
        suffixes = stage.cast.config.scenarios.suffixes
        suffix = suffixes[stage.choose(suffixes)]
        end = _exchange(stage, start, (suffix, ADDED), (ADDED,), event="turn")
        for _ in range(stage.whole((1, MOST_BETWEEN))):
            question = stage.questions.turn(stage.rng)
            asked = stage.ask(question, end + stage.draw(GAP_S), may_pause=False)
            end = stage.react(asked, (*question.answer, suffix), event=self.name).end
        start = end + stage.draw(GAP_S)
        _exchange(stage, start, (suffix, REMOVED), (REMOVED,), event="turn")

    def _coherence(self, stage: Stage, start: int) -> None:
        question = stage.questions.turn(stage.rng)
        answered = stage.answer(question, stage.ask(question, start))
        start = answered.end + stage.draw(GAP_S)
        _exchange(stage, start, (LAST,), question.answer, event=self.name)

    def _edit(self, stage: Stage, start: int) -> None:
        days = stage.questions.vocabulary.days
        if len(days) < 2:
            raise DoesNotFit
        first = stage.questions.day(stage.rng)
        answered = stage.answer(first, stage.ask(first, start))
        while True:
            edited = stage.questions.day(stage.rng)
            changed = [i for i in range(2) if edited.words[i] != first.words[i]]
            if len(changed) == 1:
                break
        words = (AND, edited.words[changed[0]])
        start = answered.end + stage.draw(GAP_S)
        _exchange(stage, start, words, edited.answer, event=self.name)

    def _pending(self, stage: Stage, start: int) -> None:
        """A word that was asked for at a time is changed before that time."""
        rules, v = stage.rules, stage.questions.vocabulary
        longest = min(LONGEST_CUE, len(v.numbers))
        seconds = stage.whole((min(4, longest), longest))
        first, second = (v.cue_words[i] for i in stage.rng.permutation(len(v.cue_words))[:2])
        words = (v.numbers[seconds - 1], "seconds", first)
        asked = stage.ask(Question(kind="cue", words=words, answer=(second,)), start)
        stage.user_event("timed_cue", asked, "", (0, 0))
        at = asked.end + stage.draw(EDIT_GAP_S)
        spans = stage.recite((NO, second), at)
        edit = Span(start=at, end=spans[-1].end, text=f"{NO} {second}")
        due = asked.end + rules.samples(seconds)
        if edit.end + rules.samples(LEAST_LEFT_S) > due:
            raise DoesNotFit
        stage.say((second,), rules.cue(asked.end, seconds))
        window = (due - rules.samples(CUE_EARLY_S), due + rules.samples(CUE_LATE_S))
        stage.user_event(self.name, edit, "say", window, second)


def _exchange(
    stage: Stage, start: int, words: tuple[str, ...], answer: tuple[str, ...], *, event: str
) -> int:
    """The user says words, the agent answers; returns the end of the answer."""
    spans = stage.recite(words, start)
    asked = Span(start=start, end=spans[-1].end, text=" ".join(words))
    return stage.react(asked, answer, event=event).end


def _others(stage: Stage, end: int, n: int) -> int:
    """Some questions in between."""
    for _ in range(n):
        question = stage.questions.turn(stage.rng)
        asked = stage.ask(question, end + stage.draw(GAP_S), may_pause=False)
        end = stage.answer(question, asked).end
    return end
