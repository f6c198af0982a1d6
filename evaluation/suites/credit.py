"""`credit`, the headline of every suite, and the speech that nobody asked for beside it.

Credit is what the suite counts, under one rule for all: an event counts only where nothing unasked
was said or delegated next to it (scoring/restraint.py), and where a suite asks for opposite things,
doing one of them always is worth nothing (`told_apart`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from microturn.evaluation.scoring.events import score_sound
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.statistics import Estimate, per_minute, ratio
from microturn.evaluation.suites.suite import Measured, Observations, Suite

UNASKED: Final = "unasked_per_min"
FALSE_DELEGATES: Final = "false_delegates_per_min"
SOUNDS: Final = "sounds_as_written"
RESTRAINT_MEANINGS: Final = {
    UNASKED: "utterances per minute that nothing explains; credit next to them is lost",
    FALSE_DELEGATES: "<delegate> per minute that nothing explains; the same",
    SOUNDS: "written words that the sound says; no other word counts as said",
}
_KEY: Final = "restraint"


def told_apart(*shares: float | None) -> Estimate | None:
    """Balanced accuracy of opposite classes, 0 for an agent that always does one thing.

    None where a class has no case: the other alone shows nothing. It stands for as many events as
    the smaller class has.
    """
    known = [share for share in shares if share is not None]
    if len(known) < len(shares):
        return None
    apart = max(0.0, (math.fsum(known) - 1.0) / (len(known) - 1))
    n_events = min((one.n_events for one in known if isinstance(one, Estimate)), default=1)
    return Estimate(apart, n_events=n_events, graded=True)


def with_restraint(suite: Suite) -> Suite:
    """Return the suite with what stands beside every headline among its metrics."""

    def observe(scored: ScoredDialogue) -> Observations:
        return {**suite.observe(scored), _KEY: _restraint(scored)}

    def measure(dialogues: Sequence[Observations]) -> Measured:
        return {**suite.measure(dialogues), **_rates([one[_KEY] for one in dialogues])}

    meanings = {**suite.meanings, **RESTRAINT_MEANINGS}
    return replace(suite, observe=observe, measure=measure, meanings=meanings)


def _restraint(scored: ScoredDialogue) -> dict[str, Any]:
    sound = None if scored.saying is None else score_sound(scored.saying, len(scored.written))
    return {
        "said": 0 if sound is None else sound.n_right,
        "written": 0 if sound is None else sound.n_judged,
        UNASKED: len(scored.unasked),
        FALSE_DELEGATES: len(scored.false_delegates),
        "minutes": scored.dialogue.duration_s / 60,
    }


def _rates(rows: Sequence[dict[str, Any]]) -> Measured:
    minutes = math.fsum(row["minutes"] for row in rows)
    return {
        UNASKED: per_minute(sum(row[UNASKED] for row in rows), minutes),
        FALSE_DELEGATES: per_minute(sum(row[FALSE_DELEGATES] for row in rows), minutes),
        SOUNDS: ratio(sum(row["said"] for row in rows), sum(row["written"] for row in rows)),
    }
