"""The suites of `microturn evaluate data=...` on dialogues of their own: what the demo learns.

They are asked by name (`suites=[turn,interruption]`) and share one set of dialogues, simulated as
the demo's are but with other seeds, so that a checkpoint of the demo is also seen at home.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Final

import numpy as np

from microturn.evaluation.scoring.contributions import MetricContribution, contributions_of
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.event_metrics import MEANINGS, METRICS, SUITES
from microturn.evaluation.suites.suite import Measured, Observations, Suite

DATA: Final = "events"
NAMES: Final = tuple(name for name in SUITES if name != "overall")
_N_DIALOGUES: Final = 48
_NOTE: Final = "Dialogues of the demo's own kind, other voices than those it trains on."


def observe(suite: str, scene: ScoredDialogue) -> Observations:
    """Contributions to the metrics of one suite."""
    found = [fact for outcome in score(scene) for fact in contributions_of(outcome)]
    return {"facts": [asdict(fact) for fact in found if fact.suite == suite]}


def measure(suite: str, dialogues: Sequence[Observations]) -> Measured:
    """Shares and medians, as in scores of a set."""
    facts = [MetricContribution(**entry) for dialogue in dialogues for entry in dialogue["facts"]]
    return {name: _value(fact for fact in facts if fact.metric == name) for name in METRICS[suite]}


def _value(facts: Iterable[MetricContribution]) -> float | None:
    values = list(facts)
    if not values:
        return None
    if values[0].median:
        return float(np.median([fact.value for fact in values]))
    return sum(fact.value for fact in values) / sum(fact.weight for fact in values)


def suite_of(name: str) -> Suite:
    """A suite of events by its name."""
    headline, asks = SUITES[name]
    return Suite(
        name=name,
        asks=asks,
        headline=headline,
        title_note=_NOTE,
        observe=partial(observe, name),
        measure=partial(measure, name),
        n_dialogues=_N_DIALOGUES,
        meanings={metric: MEANINGS[name, metric] for metric in METRICS[name]},
        dialogues_of=DATA,
    )
