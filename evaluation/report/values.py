"""A metric as text, with the unit that its name tells."""

from __future__ import annotations

from microturn.evaluation.suites.intervals import Interval
from microturn.evaluation.suites.score_suite import MetricScore


def format_value(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    if metric.endswith("_per_min"):
        return f"{value:.2f}/min"
    if metric.endswith("_s"):
        return f"{value:.2f} s"
    if metric.endswith(("_error", "_n", "_per_turn")):
        return f"{value:.2f}"
    if metric.endswith("_jsd"):
        return f"{value:.3f}"
    return f"{100 * value:.1f} %"


def format_interval(metric: str, ci95: Interval) -> str:
    low, high = (format_value(metric, edge) for edge in ci95)
    return f"{low} to {high}"


def format_score(metric: str, score: MetricScore) -> str:
    """The value, and its interval where that has a width."""
    text = format_value(metric, score.value)
    if score.ci95 is None or score.value is None:
        return text
    low, high = (format_value(metric, edge) for edge in score.ci95)
    return text if low == high else f"{text} [{format_interval(metric, score.ci95)}]"


def format_with_seeds(metric: str, score: MetricScore) -> str:
    """The same, and the value in each set, where there are several of other seeds."""
    values = ", ".join(format_value(metric, value) for value in score.by_seed)
    return format_score(metric, score) + (f" ({values})" if values else "")
