"""Charades-STA's twin: the agent says when an action starts and when it stops, as it happens.

As a spoken benchmark (Thinking Machines Lab, "Interaction Models", 2026): "Say 'start' when the
person starts doing ... then say 'stop'". The span between the onsets of both words is held against
the true one by temporal intersection over union (Charades-STA, Gao et al. 2017).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.replies import RequestScope, replies_in_order, said_in, segments
from microturn.evaluation.suites.statistics import mean, median, ratio, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

EVENT: Final = "visual_span"


def temporal_iou(said: Span, true: Span) -> float:
    """Intersection of two spans over their union; 0 where `said` ends before it starts."""
    union = max(said[1], true[1]) - min(said[0], true[0])
    shared = min(said[1], true[1]) - max(said[0], true[0])
    return max(0.0, shared) / union if union > 0 else 0.0


def observe(scored: ScoredDialogue) -> Observations:
    """Compare the spoken span of every action with the true one."""
    spans = [_span(scored, segment) for segment in segments(scored, EVENT)]
    return {"spans": [span for span in spans if span is not None]}


def _span(scored: ScoredDialogue, segment: RequestScope) -> dict[str, Any] | None:
    due = [event for event in segment.events if event.act == "say"]
    if len(due) != 2:
        return None
    said = said_in(scored, segment.request.end_s, segment.end_s)
    start, stop = (event.expected for event in due)
    starts = [word.onset_s for word in said if (word.text,) == start]
    stops = [
        word.onset_s
        for word in said
        if (word.text,) == stop and word.onset_s > min(starts, default=0)
    ]
    true = due[0].start_s, due[0].end_s
    iou = temporal_iou((starts[0], stops[0]), true) if starts and stops else 0.0
    return {
        "iou": iou,
        "clean": scored.clean(segment.request, *segment.events),
        "alone": [(word.text,) for word in said] == [start, stop],  # each once, nothing else
        "said": bool(starts and stops),
        "in_time": sum(onset is not None for onset in replies_in_order(said, due)),
        "start_s": starts[0] - true[0] if starts else None,
        "stop_s": stops[0] - true[1] if starts and stops else None,
    }


def measure(dialogues: Sequence[Observations]) -> Measured:
    spans = [item for observed in dialogues for item in observed["spans"]]
    n = len(spans)
    credit = [o["iou"] >= 0.5 and o["in_time"] == 2 and o["alone"] and o["clean"] for o in spans]
    return {
        CREDIT: share(credit),
        "r1_iou_50": share([item["iou"] >= 0.5 for item in spans]),
        "r1_iou_30": share([item["iou"] >= 0.3 for item in spans]),
        "r1_iou_70": share([item["iou"] >= 0.7 for item in spans]),
        "miou": mean([item["iou"] for item in spans]),
        "in_time": ratio(sum(item["in_time"] for item in spans), 2 * n),
        "start_off_s": median([item["start_s"] for item in spans if item["start_s"] is not None]),
        "stop_off_s": median([item["stop_s"] for item in spans if item["stop_s"] is not None]),
    }


SUITE = Suite(
    name="charades",
    asks="the agent says when an action starts and when it stops",
    title_note="a closed-domain twin of Charades-STA asked aloud: drawn figures that wave, march, "
    "jump or swing for 3 to 9 s; the agent's voice has recorded neither start nor stop, so it says "
    "playback and pause",
    observe=observe,
    measure=measure,
    n_dialogues=24,
    meanings={
        CREDIT: "spans with an intersection over union of at least 0.5, each word within 1.5 s, "
        "and nothing unasked",
        "r1_iou_50": "spans said with an intersection over union of at least 0.5",
        "r1_iou_30": "of at least 0.3",
        "r1_iou_70": "of at least 0.7",
        "miou": "mean intersection over union; a span that is not said counts 0. Whoever is 0.5 s "
        "late at both ends of 6 s gets 0.85",
        "in_time": "each of the two words within 1.5 s",
        "start_off_s": "median time from the start of the action to the first word",
        "stop_off_s": "median time from its end to the second word",
    },
)
