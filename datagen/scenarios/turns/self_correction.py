"""`number seven, no, eight`: the user takes a word back, and the agent answers what was meant."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.scenarios.base import SegmentBuilder, Words, register
from microturn.datagen.scenarios.vocabulary import Question

KINDS = ("number", "letter", "day")


@register
class SelfCorrectionScenario:
    name = "self_correction"
    asks = ("number", "letter", "day")

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=config.scenarios.corrections)

    def build(self, segment: SegmentBuilder, start: int) -> None:
        meant, mistaken = _two_questions(segment)
        wrong = next(i for i, word in enumerate(meant.words) if mistaken.words[i] != word)
        markers = segment.context.config.scenarios.corrections
        marker = markers[segment.choose(markers)]
        texts = [*meant.words[:wrong], mistaken.words[wrong], marker, *meant.words[wrong:]]
        spans = segment.recite(texts, start)
        asked = Span(start_sample=start, end_sample=spans[-1].end_sample, text=" ".join(texts))
        segment.react(asked, meant.answer, event=self.name)


def _two_questions(segment: SegmentBuilder) -> tuple[Question, Question]:
    """What is meant, and the same question with one other word."""
    vocabulary = segment.questions.vocabulary
    sizes = {"number": len(vocabulary.numbers), "letter": len(vocabulary.letters)}
    sizes["day"] = len(vocabulary.days)
    kinds = [kind for kind in KINDS if sizes[kind] > 1]
    if not kinds:
        raise ValueError(
            "vocabulary.numbers, letters and days have no two words to confuse; set "
            "families.self_correction=0"
        )
    draw = getattr(segment.questions, kinds[segment.choose(kinds)])
    meant = draw(segment.rng)
    while True:
        mistaken = draw(segment.rng)
        if sum(a != b for a, b in zip(meant.words, mistaken.words, strict=True)) == 1:
            return meant, mistaken
