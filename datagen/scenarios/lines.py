"""What users talk about: sentences in their own voice, none of them said over and over."""

from __future__ import annotations

from microturn.datagen.dialogue.script import DoesNotFit
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.scenarios.base import SegmentBuilder

SENTENCE_S = (0.9, 4.0)  # length of a recorded sentence
TRIES, CLOSING_TRIES = 6, 48
RECENT = 8  # sentences after which one may be said again
PATIENCE = 1000


class Lines:
    """Draws sentences without a silence inside that would pass for a pause."""

    def __init__(self, segment: SegmentBuilder) -> None:
        self._segment = segment
        shortest, longest = SENTENCE_S
        self._texts = segment.bank.sentences(shortest_s=shortest, longest_s=longest)
        self._recent: list[str] = []
        if not self._texts:
            raise self._none()

    def about(self, budget: float) -> list[Unit]:
        """Sentences that together take at most this many samples, and nearly as many."""
        units: list[Unit] = []
        while budget > SENTENCE_S[0] * self._segment.rules.rate:
            drawn = [self._draw() for _ in range(TRIES)]
            fitting = [unit for unit in drawn if unit.n_samples <= budget]
            if not fitting:
                break
            units.append(self._remember(fitting[0]))
            budget -= fitting[0].n_samples
        return units

    def at_least(self, n_samples: int) -> Unit:
        """Any sentence that is as long as this."""
        for number in self._segment.rng.permutation(len(self._texts)):
            unit = self._unit(int(number))
            if unit.n_samples >= n_samples and self._segment.bank.is_fluent(unit):
                return self._remember(unit)
        raise DoesNotFit

    def longest(self, n_samples: int) -> Unit | None:
        """The longest of many drawn sentences that is not longer than this."""
        drawn = [self._draw() for _ in range(CLOSING_TRIES)]
        fitting = [unit for unit in drawn if unit.n_samples <= n_samples]
        return self._remember(max(fitting, key=lambda unit: unit.n_samples)) if fitting else None

    def _draw(self) -> Unit:
        for _ in range(PATIENCE):
            unit = self._unit(self._segment.choose(self._texts))
            repeated = unit.source in self._recent and len(self._texts) > 4 * RECENT
            if self._segment.bank.is_fluent(unit) and not repeated:
                return unit
        raise self._none()

    def _remember(self, unit: Unit) -> Unit:
        self._recent = [*self._recent, unit.source][-RECENT:]
        return unit

    def _unit(self, number: int) -> Unit:
        return self._segment.bank.user(self._texts[number], self._segment.context.voice)

    def _none(self) -> ValueError:
        return ValueError(
            f"{self._segment.bank.corpus.name} has no sentences without pauses by voices.user="
            f"{self._segment.context.config.voices.user!r}; set families.conversation=0"
        )
