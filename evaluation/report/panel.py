"""The adversarial panel as tables: the floor of every suite, and all scores of all members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from microturn.evaluation.agents.panel import FAULTY, PANEL, of_concern
from microturn.evaluation.report.scores import Scores
from microturn.evaluation.report.values import format_value

MARKS: Final = ("<!-- panel begin -->", "<!-- panel end -->")
_BASELINES: Final = ("silent", "always")  # that must not score either
_KNOWING: Final = ("oracle", "half_duplex", "endpointing")


def floors(scores: Scores, suite: str) -> tuple[str, float] | None:
    """Name and score of the best member of the panel; None where the panel did not play."""
    found = {
        name: value
        for name, values in scores.panel.items()
        if of_concern(name, suite) and (value := values.get(suite)) is not None
    }
    if not found:
        return None
    for name in _BASELINES:
        if name in scores.agents:
            value = scores.agents[name].suites[suite].headline.value
            found[name] = 0.0 if value is None else value
    best = max(found, key=lambda name: found[name])
    return best, found[best]


def floor_cell(scores: Scores, suite: str) -> str:
    """The floor of a suite in a table: what the best member gets, or the line it stays below."""
    score = scores.first.suites[suite]
    best = floors(scores, suite)
    if best is None:
        return f"< {format_value(score.headline_metric, score.floor)}"
    return f"{format_value(score.headline_metric, best[1])} ({best[0] if best[1] else 'all'})"


def crossed(scores: Scores) -> list[str]:
    """Suites whose line a member of the panel reaches, each as a sentence."""
    found = []
    for suite, score in scores.first.suites.items():
        best = floors(scores, suite)
        if best is not None and best[1] >= score.floor:
            found.append(f"{suite}: {best[0]} gets {best[1]:.3f}, its line is {score.floor:g}")
    return found


def markdown(scores: Scores) -> str:
    """Floors by suite, then the scores of every member in per cent."""
    suites = list(scores.first.suites)
    lines = ["| suite | line | best of the panel |", "|---|---:|---:|"]
    for suite in suites:
        line = format_value("", scores.first.suites[suite].floor)
        lines.append(f"| {suite} | {line} | {floor_cell(scores, suite)} |")
    lines += [
        "",
        "Headlines in per cent; in brackets: right there but for a fault that the suite does not "
        "ask about.",
        "",
    ]
    lines += [f"| | {' | '.join(suites)} |", f"|---|{'---:|' * len(suites)}"]
    for name, values in _rows(scores).items():
        cells = [_cell(name, suite, values.get(suite)) for suite in suites]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| member | plays |", "|---|---|"]
    for name, member in PANEL.items():
        kind = "knows all: " if name in FAULTY else ""
        lines.append(f"| {name} | {kind}{(member.__doc__ or '').rstrip('.')} |")
    return "\n".join(lines)


def _rows(scores: Scores) -> dict[str, Mapping[str, float | None]]:
    own: dict[str, Mapping[str, float | None]] = {
        name: {suite: score.headline.value for suite, score in agent.suites.items()}
        for name, agent in scores.agents.items()
    }
    first = [name for name in (*_KNOWING, *_BASELINES) if name in own]
    return {name: own[name] for name in first} | dict(scores.panel)


def _cell(name: str, suite: str, value: float | None) -> str:
    if value is None:
        return "-"
    text = f"{100 * value:.0f}"
    return text if name not in PANEL or of_concern(name, suite) else f"({text})"
