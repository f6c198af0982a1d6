"""`alpha equals seven`: whenever the user says `alpha`, the agent says `seven`, over the user."""

from __future__ import annotations

from collections.abc import Collection

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.rules import OVER_S
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register

MEANS = "equals"
REST_S = (0.5, 1.2)  # between the agreement and the long turn
WORDS_AFTER = 3  # the user goes on at least so long after the cue
SECOND_CUE_SHARE = 0.5


@register
class SpokenCueScenario:
    """Only the newest agreements count; no other family's user says one of the cue names."""

    name = "spoken_cue"
    asks = ()

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        v = config.vocabulary
        names = config.scenarios.cue_names
        return Words(agent=(*v.numbers, *v.days), user=(*names, MEANS, *v.numbers, *v.days))

    def build(self, segment: SegmentBuilder, start: int) -> None:
        options = segment.context.config.scenarios
        names = [options.cue_names[i] for i in segment.rng.permutation(len(options.cue_names))]
        low, high = options.n_agreements
        agreed: dict[str, str] = {}
        end = start
        for cue in names[: low if low == high else segment.whole((low, high))]:
            at = end + segment.draw(REST_S) if agreed else start
            agreed[cue], end = self._agree(segment, cue, set(agreed.values()), at)
        cues, others = list(agreed), names[len(agreed) :]
        n = min(segment.whole(options.n_cue_names), len(others))
        texts = others[:n]
        for place in self._places(segment, n):
            texts[place] = cues[segment.choose(cues)] if len(cues) > 1 else cues[0]
        at = end + segment.draw(REST_S)
        for text, span in zip(
            texts, segment.recite(texts, at, gap=options.recital_gap_s), strict=True
        ):
            if text in agreed:
                self._due(segment, span, agreed[text])

    def _agree(
        self, segment: SegmentBuilder, cue: str, taken: Collection[str], start: int
    ) -> tuple[str, int]:
        """Agree on an answer to a cue that no other cue has; return it, and the end."""
        v = segment.questions.vocabulary
        replies = [word for word in (*v.numbers, *v.days) if word not in taken]
        reply = replies[segment.choose(replies)]
        spans = segment.recite((cue, MEANS, reply), start)
        text = f"{cue} {MEANS} {reply}"
        span = Span(start_sample=start, end_sample=spans[-1].end_sample, text=text)
        segment.user_event(self.name, span, "", (0, 0))
        return reply, span.end_sample

    def _places(self, segment: SegmentBuilder, n: int) -> tuple[int, ...]:
        """Where in a turn of `n` words the cue comes: once or twice, or as often as is drawn."""
        last = n - WORDS_AFTER
        share = segment.context.config.scenarios.cue_share
        if share:
            drawn: list[int] = []
            for place in range(1, last):
                far = not drawn or place - drawn[-1] >= WORDS_AFTER
                if far and segment.chance(share):
                    drawn.append(place)
            return tuple(drawn)
        first = segment.whole((1, last - 1)) if last > 1 else 1
        if first + WORDS_AFTER < last and segment.chance(SECOND_CUE_SHARE):
            return first, segment.whole((first + WORDS_AFTER, last - 1))
        return (first,)

    def _due(self, segment: SegmentBuilder, span: Span, reply: str) -> None:
        segment.say((reply,), segment.rules.reply(span.end_sample))
        window = (span.end_sample, span.end_sample + segment.rules.samples(OVER_S))
        segment.user_event(self.name, span, "say", window, reply)
