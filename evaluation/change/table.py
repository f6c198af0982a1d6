"""The changes of a training as a Markdown table: a row for each metric, a group for each users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from microturn.evaluation.change.config import ChangeConfig
from microturn.evaluation.change.measured import Change
from microturn.evaluation.report.values import format_score, format_value
from microturn.evaluation.suites.registry import load_suite

MARKS: Final = ("<!-- change begin -->", "<!-- change end -->")


def table(config: ChangeConfig, found: Mapping[str, Sequence[Change]], *, minutes: float) -> str:
    """Lay out what changed, by name of the users."""
    n_before, n_after = len(config.before), len(config.after)
    head, rule = ["", "goal"], ["---", "---:"]
    for users in found:
        head += [f"{users.replace('_', ' ')}: before -> after"]
        rule += ["---:"]
        if n_after > 1:
            head, rule = [*head, "each run"], [*rule, "---:"]
        head, rule = [*head, ""], [*rule, "---"]
    runs = f"{n_after} runs" if n_after > 1 else "one run"
    starts = f"{n_before} checkpoints" if n_before > 1 else "one checkpoint"
    lines = [
        f"{config.n_dialogues} dialogues of {minutes:.0f} minutes with each kind of users, seed "
        f"{config.seed}; before: {starts}, after: {runs}. In brackets: 95 % interval over "
        "dialogues, all runs together; n: events behind it.",
        "",
        *(f"- {users.replace('_', ' ')}: `{config.users[users]}`" for users in found),
        "",
        _line(head),
        _line(rule),
    ]
    for number, (suite, metric) in enumerate(config.rows):
        meaning = load_suite(suite).meanings[metric]
        cells = [f"`{suite}.{metric}`: {meaning}", _goal(config, suite, metric)]
        for changes in found.values():
            cells += _cells(changes[number])
        lines.append(_line(cells))
    return "\n".join(lines)


def _cells(change: Change) -> Iterator[str]:
    before, after = (format_score(change.metric, one) for one in (change.before, change.after))
    yield f"{before} -> {after}, n {change.after.n}" if change.after.n else f"{before} -> {after}"
    if len(change.each_after) > 1:
        yield ", ".join(format_value(change.metric, value) for value in change.each_after)
    yield state(change)


def state(change: Change) -> str:
    """Whether the goals of a metric are reached; empty where it has none."""
    if not change.goals:
        return ""
    if change.after.value is None:
        return "not measured"
    if any(goal.missed for goal in change.goals):
        return "missed"
    return "reached" if all(goal.met for goal in change.goals) else "within the interval"


def _goal(config: ChangeConfig, suite: str, metric: str) -> str:
    texts = (
        (config.targets.at_least, "at least {}"),
        (config.targets.at_most, "at most {}"),
        (config.may_fall, "at most {} lower"),
        (config.may_rise, "at most {} higher"),
    )
    goals = [
        text.format(format_value(metric, limit))
        for limits, text in texts
        if (limit := limits.get(suite, {}).get(metric)) is not None
    ]
    return ", ".join(goals)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
