"""`number seven, no, eight`: the user takes a word back, and the agent answers what was meant."""

from __future__ import annotations

from microturn.datagen.config import DatagenConfig
from microturn.datagen.scenarios.base import Span, Stage, Words, register
from microturn.datagen.scenarios.vocabulary import Question
from microturn.datagen.units import UnitBank

KINDS = ("number", "letter", "day")


@register
class SelfCorrection:
    name = "self_correction"

    def words(self, config: DatagenConfig, bank: UnitBank) -> Words:
        return Words(user=config.scenarios.corrections)

    def build(self, stage: Stage, start: int) -> None:
        meant, mistaken = _two_questions(stage)
        wrong = next(i for i, word in enumerate(meant.words) if mistaken.words[i] != word)
        markers = stage.cast.config.scenarios.corrections
        marker = markers[stage.choose(markers)]
        texts = [*meant.words[:wrong], mistaken.words[wrong], marker, *meant.words[wrong:]]
        spans = stage.recite(texts, start)
        asked = Span(start=start, end=spans[-1].end, text=" ".join(texts))
        stage.react(asked, meant.answer, event=self.name)


def _two_questions(stage: Stage) -> tuple[Question, Question]:
    """What is meant, and the same question with one other word."""
    vocabulary = stage.questions.vocabulary
    sizes = {"number": len(vocabulary.numbers), "letter": len(vocabulary.letters)}
    sizes["day"] = len(vocabulary.days)
    kinds = [kind for kind in KINDS if sizes[kind] > 1]
    if not kinds:
        raise ValueError(
            "vocabulary.numbers, letters and days have no two words to confuse; set "
            "families.self_correction=0"
        )
    draw = getattr(stage.questions, kinds[stage.choose(kinds)])
    meant = draw(stage.rng)
    while True:
        mistaken = draw(stage.rng)
        if sum(a != b for a, b in zip(meant.words, mistaken.words, strict=True)) == 1:
            return meant, mistaken
