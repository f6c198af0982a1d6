"""Whether an agent that was disturbed went on with what it was saying."""

from __future__ import annotations

from collections.abc import Sequence

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.activity import longest_gap
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.answers import DISTURBING_ACTS, Answer
from microturn.evaluation.scoring.moments import after, before, begins_in
from microturn.evaluation.scoring.scene import ScoredDialogue


def next_disturbance(scored: ScoredDialogue, event: EventLabel) -> float:
    """Until when the words after `event` belong to going on."""
    later = [
        other.start_s
        for other in scored.dialogue.events
        if other.act in DISTURBING_ACTS and after(other.start_s, event.start_s)
    ]
    begins = [a.begins_s for a in scored.answers if after(a.begins_s, event.start_s)]
    return min([*later, *begins], default=scored.dialogue.duration_s)


def first_group(
    scored: ScoredDialogue, words: Sequence[SpokenWord], *, at_least: int
) -> list[SpokenWord]:
    """Words up to the first long silence after `at_least` of them."""
    group: list[SpokenWord] = []
    for word in words:
        if group and len(group) >= at_least:
            gap_s = longest_gap(scored.runs, scored.onset_of(group[-1]), scored.onset_of(word))
            if gap_s > scored.windows.pause_in_answer_s:
                break
        group.append(word)
    return group


def goes_on(
    answer: Answer,
    earlier: Sequence[SpokenWord],
    words: Sequence[SpokenWord],
    start_s: float,
    limit_s: float,
) -> bool:
    """Whether the words continue the answer where it was and as far as it was to come."""
    left = n_left(answer, start_s, limit_s)
    finishes = bool(answer.recorded) and before(answer.recorded[-1].start_s, limit_s)
    finishes = finishes and len(answer.recorded) == len(answer.expected)
    texts = tuple(word.text for word in words)
    reached = _position_after(answer.expected, earlier)
    if finishes:
        if not texts:
            return reached == len(answer.expected)
        return texts == answer.expected[reached:]
    if not texts:
        return left <= 1
    follows = texts == answer.expected[reached : reached + len(texts)]
    return follows and abs(len(texts) - left) <= 1


def n_left(answer: Answer, start_s: float, limit_s: float) -> int:
    """Words that the recorded agent begins inside a span."""
    return sum(begins_in(w.start_s, start_s, limit_s) for w in answer.recorded)


def _position_after(expected: Sequence[str], earlier: Sequence[SpokenWord]) -> int:
    """How many expected words have been said, by the last one that was."""
    for word in reversed(earlier):
        if word.text in expected:
            return len(expected) - list(reversed(expected)).index(word.text)
    return 0
