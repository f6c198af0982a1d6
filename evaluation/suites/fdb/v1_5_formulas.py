"""Formulas of Full-Duplex-Bench v1.5 (arXiv 2507.23159): overlaps, replies, behaviours.

Times are restated from the benchmark's published timing script. Its judge is a language model; here
a rule takes its place, which works because what the agent of a twin should say is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.evaluation.scoring.activity import Span

USER_GAP_S: Final = 0.6  # shorter silences do not end a stretch of speech of the user
MODEL_GAP_S: Final = 0.5  # nor of the model

RESPOND, RESUME = "C_RESPOND", "C_RESUME"
UNCERTAIN, UNKNOWN = "C_UNCERTAIN_HANDLING", "C_UNKNOWN"
BEHAVIOURS: Final = (RESPOND, RESUME, UNCERTAIN, UNKNOWN)
# Requests to repeat, by a model that has not understood.
REPAIRS: Final = (
    *("sorry", "i'm sorry", "pardon", "excuse me", "what", "what was that", "say that again"),
    *("could you repeat that", "please repeat", "please try again", "i didn't catch that"),
)

Words = Sequence[str]


def joined(spans: Sequence[Span], gap_s: float) -> list[Span]:
    """Spans in order, those at most `gap_s` apart made one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start - found[-1][1] <= gap_s:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def stops(user: Sequence[Span], model: Sequence[Span]) -> list[Span]:
    """Overlaps of user and model: the length of each is the model's time to stop.

    Of several that end within the same millisecond the shortest stays.
    """
    found: dict[int, Span] = {}
    i = j = 0
    while i < len(user) and j < len(model):
        start, end = max(user[i][0], model[j][0]), min(user[i][1], model[j][1])
        key = round(end * 1000)
        if end > start and (key not in found or end - start < found[key][1] - found[key][0]):
            found[key] = (start, end)
        if user[i][1] < model[j][1]:
            i += 1
        else:
            j += 1
    return [_rounded(span) for span in sorted(found.values(), key=lambda span: span[1])]


def replies(user: Sequence[Span], model: Sequence[Span]) -> list[Span]:
    """From the end of each stretch of the user's speech to the next onset of the model.

    Of several that wait for the same onset the one that ended last stays.
    """
    found: dict[int, Span] = {}
    for _, ended in user:
        onset = next((start for start, _ in model if start > ended), None)
        if onset is None:
            continue
        key = round(onset * 1000)
        if key not in found or round(ended, 3) > found[key][0]:
            found[key] = _rounded((ended, onset))
    return sorted(found.values(), key=lambda span: span[1])


def touching(spans: Sequence[Span], event: Span) -> list[Span]:
    """Those that belong to an event: they overlap it, or begin where it ends."""
    return [(start, end) for start, end in spans if start <= event[1] + 1e-3 and end > event[0]]


def behaviour(said: Words, answer: Words, continuations: Sequence[Words]) -> str:
    """Classify the behaviour of a model after an overlap by its words.

    `answer` is right for a model that addresses the overlapping speech. `continuations` are right
    for a model that goes on: the rest of its words, from each word that it may have reached.
    """
    words = tuple(said)
    if not words:
        return UNKNOWN
    if answer and _begins(words, tuple(answer)):
        return RESPOND
    if any(left and _goes_on(words, tuple(left), tuple(answer)) for left in continuations):
        return RESUME
    # What was being said when the overlap began may come before the answer.
    for skipped in range(1, min(len(words), MAX_TAIL) + 1):
        if answer and words[skipped:] and _begins(words[skipped:], tuple(answer)):
            return RESPOND
    text = " ".join(words)
    return UNCERTAIN if any(text.startswith(repair) for repair in REPAIRS) else UNKNOWN


MAX_TAIL: Final = 2  # words of its own that a model may still say before it answers


def _begins(words: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return words[: len(wanted)] == wanted


def _goes_on(words: tuple[str, ...], left: tuple[str, ...], answer: tuple[str, ...]) -> bool:
    """Whether the rest follows, perhaps before the answer; one word more or less is timing."""
    if answer and words[-len(answer) :] == answer:
        words = words[: -len(answer)]
    n = min(len(words), len(left))
    return n > 0 and words[:n] == left[:n] and abs(len(words) - len(left)) <= 1


def _rounded(span: Span) -> Span:
    return round(span[0], 3), round(span[1], 3)
