"""The agent counts aloud: the long speech that other scenarios talk into."""

from dataclasses import dataclass

from microturn.datagen.scenarios.base import Span, Stage
from microturn.datagen.scenarios.vocabulary import Question
from microturn.datagen.units import Unit


@dataclass(frozen=True, kw_only=True)
class Count:
    """A request to count and the words that the agent means to say."""

    question: Question
    asked: Span
    planned: list[tuple[Unit, int]]  # unit and the sample at which it starts

    @property
    def end(self) -> int:
        unit, start = self.planned[-1]
        return start + unit.n_samples

    def inside(self, stage: Stage, first: int, last: int) -> int:
        """A drawn sample between the start of word `first` and that of word `last`."""
        return int(stage.rng.integers(self.planned[first][1], self.planned[last][1]))


def ask_to_count(stage: Stage, start: int, *, shortest: int) -> Count:
    """The user asks for a count of at least `shortest` words; nothing is said yet."""
    question = stage.questions.count(stage.rng, shortest=shortest)
    asked = stage.ask(question, start)
    planned = stage.plan(question.answer, stage.rules.reply(asked.end))
    return Count(question=question, asked=asked, planned=planned)
