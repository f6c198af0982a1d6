"""ProactiveVideoQA's twin: the agent answers when the answer becomes visible.

PAUC is that of ProactiveVideoQA (arXiv 2507.09313), restated from its published scorer: the area
under the score of everything said so far, over the time in which an answer is wanted, in which a
score before the first reply is 0.5 of 2. So silence is worth 0.25, and a wrong answer less. omega
moves replies to the start: 0 is full timeliness, 1 none. Its judge is a language model; here an
answer is right by its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.events import score_silence
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import SAME_S, RequestScope, TimedWord, said_in, segments
from microturn.evaluation.suites.statistics import mean, median, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

EVENT: Final = "visual_question"
BEST: Final = 2.0  # score of a right answer
BEFORE: Final = 0.5  # score as long as nothing has been said
OMEGAS: Final = (0.0, 0.5, 1.0)
_HALF: Final = OMEGAS.index(0.5)
_SILENT: Final = BEFORE / BEST  # the worth of silence

Judged = tuple[float, float]  # seconds after the start of the span, score from then on


def pauc(replies: Sequence[Judged], span_s: float, omega: float) -> float:
    """Area under the score over `span_s` seconds, as a share of the best one, 0 to 1.

    Replies are (seconds into the span, score of all that was said by then). A span without length
    is worth its last score.
    """
    if not replies:
        return BEFORE / BEST
    ordered = sorted(replies, key=lambda reply: reply[0])
    if span_s <= 0:
        return ordered[-1][1] / BEST
    area, at, level = 0.0, 0.0, BEFORE
    for time_s, score in ordered:
        moved = time_s * (1.0 - omega)
        area += (moved - at) * level
        at, level = moved, score
    return (area + (span_s - at) * level) / (span_s * BEST)


def judge(said: Sequence[str], expected: Sequence[str]) -> float:
    """2: the expected words and no others; 1: among others; 0: not there."""
    if tuple(said) == tuple(expected):
        return BEST
    return 1.0 if set(expected) <= set(said) else 0.0


def judged_replies(
    said: Sequence[TimedWord], expected: Sequence[str], start_s: float
) -> list[Judged]:
    """Score the reply after every new word; a repeated word adds nothing."""
    known: list[str] = []
    replies: list[Judged] = []
    for word in said:
        if word.text in known:
            continue
        known.append(word.text)
        replies.append((max(word.onset_s - start_s, 0.0), judge(known, expected)))
    return replies


def observe(scored: ScoredDialogue) -> Observations:
    """Score every question: the words while the answer is visible, and silence before it."""
    return {
        "questions": [
            _question(scored, event, segment)
            for segment in segments(scored, EVENT)
            for event in segment.events
            if event.act == "say"
        ]
    }


def _question(scored: ScoredDialogue, event: EventLabel, segment: RequestScope) -> dict[str, Any]:
    assert event.window_s is not None, event
    start_s, end_s = event.window_s[0], max(event.window_s[1], event.end_s)
    said = said_in(scored, start_s, end_s + SAME_S)
    replies = judged_replies(said, event.expected, start_s)
    before = [
        other
        for other in (segment.request, *segment.events)
        if other.act == "stay_silent" and other.start_s < start_s
    ]
    right = [time_s for time_s, score in replies if score == BEST]
    return {
        "pauc": [pauc(replies, end_s - start_s, omega) for omega in OMEGAS],
        "clean": scored.clean(segment.request, *segment.events),
        "right": bool(replies) and replies[-1][1] == BEST,
        "alone": tuple(word.text for word in said) == event.expected,  # repeated words count here
        "waited": all(score_silence(scored, other).silent for other in before),
        "lag_s": min(right, default=None),
    }


def _credit(item: dict[str, Any]) -> float:
    """What a right answer, said alone and not before, is worth beyond silence."""
    earned = item["alone"] and item["waited"] and item["clean"]
    return (float(item["pauc"][_HALF]) - _SILENT) / (1.0 - _SILENT) if earned else 0.0


def measure(dialogues: Sequence[Observations]) -> Measured:
    questions = [item for observed in dialogues for item in observed["questions"]]
    areas = {
        f"pauc_{round(100 * omega)}": mean([item["pauc"][i] for item in questions])
        for i, omega in enumerate(OMEGAS)
    }
    return {
        CREDIT: mean([_credit(item) for item in questions]),
        "pauc_50": areas["pauc_50"],
        "pauc_0": areas["pauc_0"],
        "pauc_100": areas["pauc_100"],
        "right": share([item["right"] for item in questions]),
        "waited": share([item["waited"] for item in questions]),
        "lag_s": median([item["lag_s"] for item in questions if item["lag_s"] is not None]),
    }


SUITE = Suite(
    name="proactive_video_qa",
    asks="the agent answers at the moment in which the answer can be seen",
    title_note="a closed-domain twin of ProactiveVideoQA: a number or a letter becomes visible, "
    "words are judged and no language model; silence is worth 25 %, a wrong answer less",
    observe=observe,
    measure=measure,
    n_dialogues=24,
    floor=0.25,  # one delay meets a window of 1.5 s of the eight in which the answer comes
    meanings={
        CREDIT: "PAUC, omega 0.5, of right answers alone and not before, from silence (0) to at "
        "once (1); other replies 0, nothing unasked",
        "pauc_50": "PAUC, omega 0.5: a perfect answer at the very end is worth 62.5 %",
        "pauc_0": "PAUC, omega 0: full timeliness",
        "pauc_100": "PAUC, omega 1: whenever it was said",
        "right": "the answer and nothing else is said while it can be seen",
        "waited": "nothing was said before",
        "lag_s": "median time from the moment in which the answer is there to the right word",
    },
    oracle_note="full marks need an answer in the very instant in which it can be seen; the "
    "recorded agent takes 0.2 to 0.4 s of about 2 s, of which omega 0.5 forgives half",
)
