"""From outcomes of events to suites: shares, medians, how many, and how sure.

Intervals are 95 % bootstrap intervals over dialogues, not events: two events of one dialogue
share a voice and a room. A metric without events is None, never a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from microturn.datagen.labels.event_types import EVENT_TYPES
from microturn.evaluation.scoring.contributions import (
    AS_EXPECTED,
    MetricContribution,
    contributions_of,
)
from microturn.evaluation.scoring.outcomes import Outcome
from microturn.evaluation.suites.metric_descriptions import MEANINGS as MEANINGS

N_RESAMPLES: Final = 1000
# suite: (its headline, what it asks)
SUITES: Final[dict[str, tuple[str, str]]] = {
    "turn": ("answered", "a question or request is answered rightly and in time"),
    "interruption": ("stopped_in_time", "the agent falls silent when the user takes the floor"),
    "user_backchannel": ("went_on", "the agent goes on speaking through a backchannel"),
    "background": ("undisturbed", "other voices and noises change nothing"),
    "timed_cue": ("in_window", "the right word at the requested time"),
    "delegation": ("result_spoken", "a result of the background agent is asked for and spoken"),
    "over_user": ("in_window", "a word that is due while the user speaks is said there"),
    "agent_backchannel": ("given", "the agent shows that it listens, and does not take the floor"),
    "recall": ("answered", "what was said before is remembered, kept to or edited"),
    "refusals": ("right", "what is forbidden is refused, and nothing else"),
    "visual": ("in_window", "the right word when something is seen"),
    "overall": ("mean_headline", "mean of the suites above, and speech that nobody asked for"),
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number of a suite; `value` is None when nothing was measured."""

    value: float | None
    n: int
    ci95: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value, "n": self.n, "ci95": list(self.ci95) if self.ci95 else None}


Metrics = dict[str, dict[str, Metric]]

# Every metric of every suite, so that an empty set reports None instead of leaving it out.
METRICS: Final[dict[str, tuple[str, ...]]] = {
    "turn": (
        "answered",
        "onset_recall",
        "right_word",
        "word_error_rate",
        "turn_latency_s",
        "early_replies",
        "silent_in_pauses",
    ),
    "interruption": (
        "stopped_in_time",
        "stop_latency_s",
        "speaking_when_interrupted",
        "answered_after",
    ),
    "user_backchannel": ("went_on", "words_right", "longest_gap_s", "speaking_at_backchannel"),
    "background": ("undisturbed", "silent", "went_on"),
    "timed_cue": ("in_window", "right_word", "onset_from_earliest_s", "silent_after_stop"),
    "delegation": (
        "result_spoken",
        "delegated",
        "delegate_latency_s",
        "acknowledged",
        "filler_in_window",
        "result_right",
        "result_latency_s",
    ),
    "over_user": ("in_window", "right_word", "onset_from_earliest_s", "silent_without_cause"),
    "agent_backchannel": ("given", "right_word", "onset_s"),
    "recall": ("answered",),
    "refusals": ("right", "refused", "harmless_answered"),
    "visual": ("in_window", "right_word", "onset_from_earliest_s", "silent_unasked"),
    "overall": (
        "mean_headline",
        "spurious_share",
        "spurious_onsets_per_min",
        "false_delegates_per_min",
        "heard_word_error_rate",
        "sounds_as_written",
    ),
}


def known_suites() -> dict[str, tuple[str, str]]:
    """Return SUITES and, before `overall`, the suites that other packages' event types bring."""
    added = {
        kind.suite: (AS_EXPECTED, kind.meaning)
        for kind in EVENT_TYPES.values()
        if kind.suite not in SUITES
    }
    return {**{k: v for k, v in SUITES.items() if k != "overall"}, **added} | {
        "overall": SUITES["overall"]
    }


def metrics_of(suite: str) -> tuple[str, ...]:
    """Return the names of a suite's metrics."""
    return METRICS.get(suite, (AS_EXPECTED,))


def meaning_of(suite: str, metric: str) -> str:
    """Return a metric's meaning as a line of a table."""
    return MEANINGS.get((suite, metric), "the agent did what the event expects")


def aggregate(dialogues: Sequence[Sequence[Outcome]], *, seed: int) -> Metrics:
    """Metrics of every suite over dialogues, each given as its list of outcomes."""
    facts: dict[tuple[str, str], list[list[MetricContribution]]] = {
        (suite, metric): [[] for _ in dialogues]
        for suite in known_suites()
        for metric in metrics_of(suite)
    }
    for i, outcomes in enumerate(dialogues):
        for outcome in outcomes:
            for fact in contributions_of(outcome):
                facts[fact.suite, fact.metric][i].append(fact)
    draws = resamples(len(dialogues), seed)
    metrics: Metrics = {suite: {} for suite in known_suites()}
    for (suite, metric), per_dialogue in facts.items():
        metrics[suite][metric] = _metric(per_dialogue, draws)
    metrics["overall"]["mean_headline"] = _mean_headline(facts, draws)
    return metrics


def resamples(n_dialogues: int, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Indices of resampled dialogues, (N_RESAMPLES, n_dialogues)."""
    rng = np.random.default_rng([seed, n_dialogues])
    return rng.integers(0, max(n_dialogues, 1), (N_RESAMPLES, n_dialogues))


def _metric(per_dialogue: list[list[MetricContribution]], draws: np.ndarray[Any, Any]) -> Metric:
    flat = [fact for facts in per_dialogue for fact in facts]
    if not flat:
        return Metric(value=None, n=0, ci95=None)
    n = sum(fact.n for fact in flat)
    if flat[0].median:
        value = float(np.median([fact.value for fact in flat]))
        return Metric(value=value, n=n, ci95=_interval(_medians(per_dialogue, draws)))
    value = sum(fact.value for fact in flat) / sum(fact.weight for fact in flat)
    return Metric(value=value, n=n, ci95=_interval(_shares(per_dialogue, draws)))


def _shares(
    per_dialogue: list[list[MetricContribution]], draws: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Share of every resample; not a number where a resample holds no event."""
    values = np.array([sum(fact.value for fact in facts) for facts in per_dialogue], float)
    weights = np.array([sum(fact.weight for fact in facts) for facts in per_dialogue], float)
    total = weights[draws].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        shares: np.ndarray[Any, np.dtype[np.float64]] = values[draws].sum(axis=1) / total
    return shares


def _medians(
    per_dialogue: list[list[MetricContribution]], draws: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = [[fact.value for fact in facts] for facts in per_dialogue]
    medians = []
    for draw in draws:
        drawn = [value for i in draw for value in values[i]]
        medians.append(float(np.median(drawn)) if drawn else float("nan"))
    return np.array(medians)


def _interval(samples: np.ndarray[Any, Any]) -> tuple[float, float] | None:
    kept = samples[np.isfinite(samples)]
    if not len(kept):
        return None
    low, high = np.percentile(kept, [2.5, 97.5])
    return float(low), float(high)


def _mean_headline(
    facts: dict[tuple[str, str], list[list[MetricContribution]]], draws: np.ndarray[Any, Any]
) -> Metric:
    """Mean over the suites that have events, every suite with the same weight."""
    values, samples = [], []
    for suite, (headline, _) in known_suites().items():
        if suite == "overall":
            continue
        per_dialogue = facts[suite, headline]
        value = _metric(per_dialogue, draws[:1]).value
        if value is not None:
            values.append(value)
            samples.append(_shares(per_dialogue, draws))
    if not values:
        return Metric(value=None, n=0, ci95=None)
    return Metric(
        value=float(np.mean(values)),
        n=len(values),
        ci95=_interval(np.mean(samples, axis=0)),
    )


def to_json(metrics: Metrics, chosen: Sequence[str] = ()) -> dict[str, Any]:
    """`suites` of scores.json: headline, metrics, n and ci95 by suite, details per metric."""
    suites = {}
    for suite, (headline, asks) in known_suites().items():
        if chosen and suite not in chosen:
            continue
        head = metrics[suite][headline]
        suites[suite] = {
            "headline": head.value,
            "n": head.n,
            "ci95": list(head.ci95) if head.ci95 else None,
            "headline_metric": headline,
            "asks": asks,
            "metrics": {name: metric.value for name, metric in metrics[suite].items()},
            "details": {name: metric.to_json() for name, metric in metrics[suite].items()},
        }
    return suites
