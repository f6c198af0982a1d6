"""The agent counts aloud: the long speech that other scenarios talk into."""

from dataclasses import dataclass

from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.scenarios.base import SegmentBuilder
from microturn.datagen.scenarios.vocabulary import Question


@dataclass(frozen=True, kw_only=True)
class Count:
    """A request to count and the words that the agent means to say."""

    question: Question
    asked: Span
    planned: list[tuple[Unit, int]]  # unit and the sample at which it starts

    @property
    def end_sample(self) -> int:
        unit, start = self.planned[-1]
        return start + unit.n_samples

    def inside(self, segment: SegmentBuilder, first: int, last: int) -> int:
        """A drawn sample between the start of word `first` and that of word `last`."""
        return int(segment.rng.integers(self.planned[first][1], self.planned[last][1]))


def ask_to_count(segment: SegmentBuilder, start: int, *, shortest: int) -> Count:
    """The user asks for a count of at least `shortest` words; nothing is said yet."""
    question = segment.questions.count(segment.rng, shortest=shortest)
    asked = segment.ask(question, start)
    planned = segment.plan(question.answer, segment.rules.reply(asked.end_sample))
    return Count(question=question, asked=asked, planned=planned)
