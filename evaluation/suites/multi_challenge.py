"""Audio MultiChallenge, closed-domain twin: recalls of things said earlier in the dialogue.

Four axes: a memory, an instruction that has to be kept, the agent's own answers, requests that are
edited. Every recall is one rubric, passed when the words of the reply are right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.datagen.labels.dialogue import EventLabel, word_list
from microturn.datagen.scenarios.requests.recall import AND, LAST, NO
from microturn.evaluation.scoring.activity import longest_gap
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.credit import told_apart
from microturn.evaluation.suites.replies import SAME_S
from microturn.evaluation.suites.statistics import mean, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

AXES: Final = ("memory", "instruction", "coherence", "edit")
_TOKEN_LEADS_S: Final = 1.0  # a word's token comes at most so long before its sound


def axis_of(event: EventLabel, subjects: Sequence[str]) -> str:
    """Axis of a recall; `subjects` are the first words of the statements before it."""
    words = word_list(event.text)
    if words == (LAST,):
        return "coherence"
    if words[:1] in ((AND,), (NO,)):
        return "edit"
    return "memory" if words[:1] and words[0] in subjects and len(words) == 1 else "instruction"


def reply_to(
    scored: ScoredDialogue, event: EventLabel, *, from_s: float | None = None
) -> tuple[str, ...]:
    """Return the words from the end of an event to a long silence or the user's next request."""
    start_s = event.end_s if from_s is None else from_s
    later = [
        other.start_s
        for other in scored.dialogue.events
        if other.speaker == "user" and other.act != "stay_silent" and other.start_s > start_s
    ]
    until_s = min(later, default=scored.dialogue.duration_s)
    said: list[str] = []
    last_s: float | None = None
    for word in scored.words_between(start_s - _TOKEN_LEADS_S, until_s):
        onset_s = scored.onset_of(word)
        if not start_s - SAME_S <= onset_s < until_s - SAME_S:
            continue
        if last_s is not None:
            gap_s = longest_gap(scored.runs, last_s, onset_s)
            if gap_s > scored.windows.pause_in_answer_s:
                break
        said.append(word.text)
        last_s = onset_s
    return tuple(said)


def observe(scored: ScoredDialogue) -> Observations:
    """Judge the rubrics of a dialogue."""
    subjects = [
        words[0]
        for event in scored.dialogue.of_type("turn")
        if len(words := word_list(event.text)) > 2 and words[1] == "is"
    ]
    rubrics = []
    for event in scored.dialogue.of_type("recall"):
        due_s = event.window_s[0] if event.act == "say" and event.window_s else None
        right = reply_to(scored, event, from_s=due_s) == event.expected
        rubrics.append(
            {"axis": axis_of(event, subjects), "passed": right, "clean": scored.clean(event)}
        )
    return {"rubrics": rubrics}


def measure(dialogues: Sequence[Observations]) -> Measured:
    """Compute the average pass rate of all rubrics and of each axis."""
    rubrics = [rubric for observed in dialogues for rubric in observed["rubrics"]]
    by_axis = {
        axis: share([one["passed"] for one in rubrics if one["axis"] == axis]) for axis in AXES
    }
    credit = [
        share([one["passed"] and one["clean"] for one in rubrics if one["axis"] == axis])
        for axis in AXES
    ]
    return {
        CREDIT: told_apart(*credit),
        "apr": mean([float(one["passed"]) for one in rubrics]),
        **by_axis,
    }


SUITE: Final = Suite(
    name="multi_challenge",
    asks="the agent remembers, keeps to instructions and to its own answers, and follows edits",
    title_note=(
        "A closed-domain twin of Audio MultiChallenge: its four axes and its average pass rate, "
        "one rubric for each recall, judged by comparing words instead of by a language model."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=32,
    meanings={
        CREDIT: "mean of the four axes, with nothing unasked, so that mastering one is worth "
        "nothing: (their sum - 1) / 3",
        "apr": "average pass rate: recalls with the right words, however late",
        "memory": "the same, of things that the user told",
        "instruction": "of answers under an instruction that has to be kept",
        "coherence": "of the agent's own last answer",
        "edit": "of requests that were edited, before or after they were answered",
    },
)
