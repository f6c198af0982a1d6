"""The user recites something in order and leaves a word out: the agent says it, over the user."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.rules import OVER_S
from microturn.datagen.scenarios.base import DoesNotFit, Span, Stage, Words, register
from microturn.datagen.units import UnitBank

FEWEST_BEFORE = 2  # words in order before the mistake, so that there is an order to break
MOST_BEFORE = 4
FEWEST_AFTER = 1
MOST_WORDS = 16
WORDS_UNTIL_DUE = 7  # as many words are certain to take until the correction is due


@register
class Interjection:
    name = "interjection"

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        texts = tuple(
            word for order in config.scenarios.recitals.values() for word in order.split()
        )
        return Words(agent=texts, user=texts)

    def build(self, stage: Stage, start: int) -> None:
        options = stage.cast.config.scenarios
        names = tuple(options.recitals)
        name = names[stage.choose(names)]
        order = options.recitals[name].split()
        before = stage.whole((FEWEST_BEFORE, MOST_BEFORE))
        if name in options.round_recitals:
            first, n = stage.choose(order), MOST_WORDS
        else:
            n = before + 1 + WORDS_UNTIL_DUE
            if n > len(order):
                raise DoesNotFit
            first = stage.whole((0, len(order) - n))
        texts = [order[(first + i) % len(order)] for i in range(n)]
        if stage.chance(options.flawless_share):
            self._flawless(stage, start, texts[: before + MOST_BEFORE])
        else:
            self._mistake(stage, start, texts, before)

    def _flawless(self, stage: Stage, start: int, texts: list[str]) -> None:
        """No mistake: nothing to say."""
        spans = stage.recite(texts, start, gap=stage.cast.config.scenarios.recital_gap)
        said = Span(start=start, end=spans[-1].end, text=" ".join(texts))
        window = (start, said.end + stage.rules.samples(stage.timing.background_tail))
        stage.user_event(self.name, said, "stay_silent", window)
        stage.end = max(stage.end, window[1])

    def _mistake(self, stage: Stage, start: int, texts: list[str], before: int) -> None:
        """The word at `before` is left out; the user goes on until the correction was due."""
        gap = stage.cast.config.scenarios.recital_gap
        missing = texts.pop(before)
        spans = stage.recite(texts[: before + 1], start, gap=gap)
        wrong = spans[-1]
        due = wrong.end + stage.rules.samples(OVER_S)
        at = wrong.end
        for number, text in enumerate(texts[before + 1 :], start=1):
            at = stage.recite((text,), at + stage.draw(gap))[0].end
            if at >= due and number >= FEWEST_AFTER:
                break
        if at < due:
            raise DoesNotFit
        stage.say((missing,), stage.rules.reply(wrong.end))
        stage.user_event(self.name, wrong, "say", (wrong.end, due), missing)
        stage.end = max(stage.end, at)
