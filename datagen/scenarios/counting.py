"""The agent counts aloud: the long speech that other scenarios talk into."""

from dataclasses import dataclass
from typing import Final

from microturn.datagen.dialogue.script import Span
from microturn.datagen.dialogue.units import Unit
from microturn.datagen.scenarios.base import SegmentBuilder
from microturn.datagen.scenarios.vocabulary import Question

MIN_COUNT: Final = 5
WORDS_LEFT: Final = 3  # words that the agent still means to say
ROOM_S: Final = 4.5  # from the onset on; enough for everything that is said into a count


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


def into_count(segment: SegmentBuilder, start: int) -> tuple[Count, int]:
    """Ask to count; return the count and when somebody begins to speak into it.

    Everything that is said or sounds into a count begins alike, and is only begun where the longest
    of it would fit: neither the moment nor the rest of the dialogue tells what it is.
    """
    count = ask_to_count(segment, start, shortest=MIN_COUNT)
    onset = count.inside(segment, 1, len(count.planned) - WORDS_LEFT)
    segment.must_end_by(max(count.end_sample, onset + segment.rules.samples(ROOM_S)))
    return count, onset
