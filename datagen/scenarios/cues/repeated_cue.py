"""`repeat three seconds monday`: the agent says a word every so many seconds until told to stop."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import CUE_EARLY_S, CUE_LATE_S
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.labels.event_types import TIMED_CUE
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register

OPENING = "repeat"
CLEAR_S = (0.15, 0.6)  # from the agent's last word to the user's stop
MARGIN_S = 0.6  # from the end of that to the next time at which the word would be due


@register
class RepeatedCueScenario:
    name = "repeated_cue"
    asks = ("cue",)

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        low, high = config.scenarios.repeat_period_s
        if high > len(config.vocabulary.numbers):
            raise ValueError(
                f"scenarios.repeat_period_s={[low, high]} goes beyond the "
                f"{len(config.vocabulary.numbers)} words of vocabulary.numbers"
            )
        return Words(user=(OPENING, *bank.sayable(config.vocabulary.stop_words)))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options, rules, vocabulary = (
            segment.context.config.scenarios,
            segment.rules,
            segment.questions.vocabulary,
        )
        seconds = segment.whole(options.repeat_period_s)
        word = vocabulary.cue_words[segment.choose(vocabulary.cue_words)]
        texts = (OPENING, vocabulary.numbers[seconds - 1], "seconds", word)
        spans = segment.recite(texts, start)
        asked = Span(start_sample=start, end_sample=spans[-1].end_sample, text=" ".join(texts))
        speech = asked
        for number in range(1, segment.whole(options.repeat_times) + 1):
            due = asked.end_sample + rules.samples(number * seconds)
            speech = segment.say((word,), rules.next_boundary(due))
            told = asked if number == 1 else Span(start_sample=due, end_sample=due, text=word)
            self._cue(segment, told, due, word)
        self._stop(segment, speech.end_sample, due + rules.samples(seconds), rules.samples(seconds))

    def _cue(self, segment: SegmentBuilder, told: Span, due: int, word: str) -> None:
        early, late = segment.rules.samples(CUE_EARLY_S), segment.rules.samples(CUE_LATE_S)
        segment.user_event(TIMED_CUE, told, "say", (due - early, due + late), word)

    def _stop(self, segment: SegmentBuilder, said_end: int, due: int, period: int) -> None:
        """The user says stop between two times; the agent says nothing at the next one."""
        start = said_end + segment.draw(CLEAR_S)
        last = due - segment.rules.samples(MARGIN_S)
        unit = segment.stop_phrase(segment.speaker(), max_samples=last - start)
        if unit is None or start + unit.n_samples > last:  # the voice may be slow
            raise DoesNotFit
        spoken = segment.place(unit, start, lane="user")
        window = (spoken.end_sample, due + period // 2)
        expect = Expect(act="stay_silent", window_samples=window)
        segment.event(
            Event(
                type=TIMED_CUE,
                start_sample=spoken.start_sample,
                end_sample=spoken.end_sample,
                speaker="user",
                text=spoken.text,
                expect=expect,
            )
        )
        segment.end_sample = max(segment.end_sample, window[1])
