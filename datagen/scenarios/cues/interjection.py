"""The user recites something in order and leaves a word out: the agent says it, over the user."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import OVER_S
from microturn.datagen.dialogue.script import DoesNotFit, Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register

MIN_BEFORE = 2  # words in order before the mistake, so that there is an order to break
MAX_BEFORE = 4
MIN_AFTER = 1
MAX_WORDS = 16
WORDS_UNTIL_DUE = 7  # as many words are certain to take until the correction is due
ROOM_S = 9.0  # for any recital, so that the time left does not tell whether it has a mistake


@register
class InterjectionScenario:
    name = "interjection"
    asks = ()

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        texts = tuple(
            word for order in config.scenarios.recitals.values() for word in order.split()
        )
        return Words(agent=texts, user=texts)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options = segment.context.config.scenarios
        segment.must_end_by(start + segment.rules.samples(ROOM_S))
        names = tuple(options.recitals)
        name = names[segment.choose(names)]
        order = options.recitals[name].split()
        before = segment.whole((MIN_BEFORE, MAX_BEFORE))
        if name in options.round_recitals:
            first, n = segment.choose(order), MAX_WORDS
        else:
            n = before + 1 + WORDS_UNTIL_DUE
            if n > len(order):
                raise DoesNotFit
            first = segment.whole((0, len(order) - n))
        texts = [order[(first + i) % len(order)] for i in range(n)]
        if segment.chance(options.flawless_share):
            self._flawless(segment, start, texts[: before + MAX_BEFORE])
        else:
            self._mistake(segment, start, texts, before)

    def _flawless(self, segment: SegmentBuilder, start: int, texts: list[str]) -> None:
        """No mistake: nothing to say."""
        spans = segment.recite(texts, start, gap=segment.context.config.scenarios.recital_gap_s)
        recital = Span(start_sample=start, end_sample=spans[-1].end_sample, text=" ".join(texts))
        window = (
            start,
            recital.end_sample + segment.rules.samples(segment.timing.background_tail_s),
        )
        segment.user_event(self.name, recital, "stay_silent", window)
        segment.end_sample = max(segment.end_sample, window[1])

    def _mistake(self, segment: SegmentBuilder, start: int, texts: list[str], before: int) -> None:
        """The word at `before` is left out; the user goes on until the correction was due."""
        gap = segment.context.config.scenarios.recital_gap_s
        missing = texts.pop(before)
        spans = segment.recite(texts[: before + 1], start, gap=gap)
        wrong = spans[-1]
        due = wrong.end_sample + segment.rules.samples(OVER_S)
        at = wrong.end_sample
        for number, text in enumerate(texts[before + 1 :], start=1):
            at = segment.recite((text,), at + segment.draw(gap))[0].end_sample
            if at >= due and number >= MIN_AFTER:
                break
        if at < due:
            raise DoesNotFit
        segment.say((missing,), segment.rules.reply(wrong.end_sample))
        segment.user_event(self.name, wrong, "say", (wrong.end_sample, due), missing)
        segment.end_sample = max(segment.end_sample, at)
