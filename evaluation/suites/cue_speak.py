"""CueSpeak's twin: the agent speaks at a cue, while the user goes on speaking.

CueSpeak was not published. After its description (Thinking Machines Lab, "Interaction Models",
2026): every example has one expected response and one window, credit needs both, and the examples
are made so that full marks need speaking at the same time as the user. Ours: "alpha equals seven"
is agreed, a long turn follows, and "seven" is due within 1.5 s of every "alpha" in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from microturn.datagen.labels.dialogue import EventLabel
from microturn.evaluation.scoring.activity import Span, overlap
from microturn.evaluation.scoring.events import score_cue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import SAME_S
from microturn.evaluation.suites.statistics import median, per_minute, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

EVENT: Final = "spoken_cue"
TURN_GAP_S: Final = 0.5  # the user's words are one turn up to this silence
MIN_OVERLAP_S: Final = 0.05


def observe(scored: ScoredDialogue) -> Observations:
    """Score every cue, and count utterances over the user that no cue explains."""
    due = [event for event in scored.dialogue.of_type(EVENT) if event.act == "say"]
    turns = user_turns(scored)
    return {
        "cues": [_cue(scored, event, turns) for event in due],
        "strays": _strays(scored, due, turns),
        "user_s": sum(end - start for start, end in turns),
    }


def user_turns(scored: ScoredDialogue) -> list[Span]:
    """Spans in which the user speaks, silences between words included."""
    turns: list[Span] = []
    for word in sorted(scored.dialogue.user_words, key=lambda word: word.start_s):
        if turns and word.start_s - turns[-1][1] <= TURN_GAP_S:
            turns[-1] = (turns[-1][0], max(turns[-1][1], word.end_s))
        else:
            turns.append((word.start_s, word.end_s))
    return turns


def _cue(scored: ScoredDialogue, event: EventLabel, turns: Sequence[Span]) -> dict[str, Any]:
    outcome = score_cue(scored, event)
    over = False
    if outcome.onset_s is not None:
        onset_s = event.end_s + outcome.onset_s
        speech = [run for run in scored.runs if run[1] > onset_s + SAME_S]
        over = any(overlap(turn, speech[0]) >= MIN_OVERLAP_S for turn in turns if speech)
    return {
        "right": outcome.right,
        "credit": outcome.in_window,
        "clean": scored.clean(event),
        "over_user": over,
        "lag_s": outcome.onset_s,
    }


def _strays(scored: ScoredDialogue, due: Sequence[EventLabel], turns: Sequence[Span]) -> int:
    """Count utterances that begin while the user speaks and in no window."""
    windows = [event.window_s for event in due if event.window_s is not None]
    return sum(
        any(a <= start <= b for a, b in turns)
        and not any(a - SAME_S <= start <= b + SAME_S for a, b in windows)
        for start, _ in scored.utterances
    )


def measure(dialogues: Sequence[Observations]) -> Measured:
    cues = [cue for observed in dialogues for cue in observed["cues"]]
    minutes = math.fsum(observed["user_s"] for observed in dialogues) / 60
    strays = sum(observed["strays"] for observed in dialogues)
    right = [cue for cue in cues if cue["right"]]
    return {
        CREDIT: share([cue["credit"] and cue["clean"] for cue in cues]),
        "accuracy": share([cue["credit"] for cue in cues]),
        "right_words": share([cue["right"] for cue in cues]),
        "over_user": share([cue["credit"] and cue["over_user"] for cue in cues]),
        "lag_s": median([cue["lag_s"] for cue in right]),
        "strays_per_min": per_minute(strays, minutes),
    }


SUITE = Suite(
    name="cue_speak",
    asks="the agent says the agreed word at every cue, over the user",
    title_note="a closed-domain twin of CueSpeak, which was not published: one cue word, one "
    "reply, a turn of six to ten words that goes on; the window of 1.5 s is ours",
    observe=observe,
    measure=measure,
    n_dialogues=24,
    floor=0.2,  # a cue lasts 1.5 s of a turn of about eight
    meanings={
        CREDIT: "cues with the agreed word in its window, and nothing unasked",
        "accuracy": "the agreed word and nothing else, begun within 1.5 s of the end of the cue",
        "right_words": "the agreed word and nothing else, in the window or out of it",
        "over_user": "credit that was earned while the user was speaking",
        "lag_s": "median time from the end of the cue to the right word",
        "strays_per_min": "utterances begun while the user speaks and no cue is due, per minute "
        "of the user's speech",
    },
)
