"""Pictures of a full evaluation: headlines, scenario by scenario, and how long replies take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from microturn.evaluation.report.tables import TWINS, agents_of
from microturn.evaluation.scoring.outcomes import Outcome, StopOutcome, TurnOutcome

_BIN_S: Final = 0.05
_FIRST_S, _LAST_S = -0.5, 2.5

Outcomes = Mapping[str, Sequence[Sequence[Outcome]]]  # by agent, by dialogue


def draw(out: Path, scores: Mapping[str, Any], outcomes: Outcomes) -> None:
    """Write scores.png, scenarios.png and latencies.png."""
    _bars(out / "scores.png", agents_of(scores), f"Headlines of all suites ({TWINS})")
    scenarios = {
        agent: {suite: entry for suite, entry in suites.items() if suite != "overall"}
        for agent, suites in scores["events"].items()
    }
    title = f"Events of all dialogues, by what they ask ({TWINS})"
    _bars(out / "scenarios.png", scenarios, title)
    _latencies(out / "latencies.png", outcomes)


def _bars(path: Path, agents: Mapping[str, Mapping[str, Any]], title: str) -> None:
    """One group of bars per suite, one bar per agent, intervals as whiskers."""
    from microturn.evaluation.report.figures import new_figure, save_figure

    first = next(iter(agents.values()))
    names = [
        name for name in first if any(one[name]["headline"] is not None for one in agents.values())
    ]
    figure = new_figure(width=max(1.0 * len(names) + 2, 8.0), height=4.6)
    axis = figure.subplots()
    width = 0.8 / len(agents)
    for i, (agent, suites) in enumerate(agents.items()):
        places = [x + (i - (len(agents) - 1) / 2) * width for x in range(len(names))]
        heights = [suites[name]["headline"] or 0.0 for name in names]
        axis.bar(places, heights, width, label=agent, yerr=_whiskers(suites, names))
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_ylim(0, 1.05)
    axis.set_ylabel("headline, 1 is best")
    axis.set_title(title, fontsize=10)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=len(agents), fontsize=8)
    save_figure(figure, path)


def _whiskers(suites: Mapping[str, Any], names: Sequence[str]) -> list[list[float]]:
    below, above = [], []
    for name in names:
        value, interval = suites[name]["headline"], suites[name]["ci95"]
        known = value is not None and interval
        below.append(max(value - interval[0], 0.0) if known else 0.0)
        above.append(max(interval[1] - value, 0.0) if known else 0.0)
    return [below, above]


def _latencies(path: Path, outcomes: Outcomes) -> None:
    """Reply and stop latencies of every agent, one below the other."""
    from microturn.evaluation.report.figures import new_figure, save_figure

    agents = [name for name in outcomes if name not in ("silent", "always")]
    figure = new_figure(width=10, height=1.6 * len(agents) + 1.2)
    axes = figure.subplots(len(agents), 2, sharex=True, squeeze=False)
    n_bins = round((_LAST_S - _FIRST_S) / _BIN_S)
    bins = [_FIRST_S + _BIN_S * i for i in range(n_bins + 1)]
    for row, agent in zip(axes, agents, strict=True):
        flat = [outcome for dialogue in outcomes[agent] for outcome in dialogue]
        turns = [o.latency_s for o in flat if isinstance(o, TurnOutcome)]
        stops = [o.latency_s for o in flat if isinstance(o, StopOutcome)]
        for axis, found, what in ((row[0], turns, "replies"), (row[1], stops, "stops")):
            known = [value for value in found if value is not None]
            axis.hist([min(max(v, _FIRST_S), _LAST_S) for v in known], bins=bins)
            axis.set_title(f"{agent}: {len(known)} of {len(found)} {what}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("seconds; the last bin holds all that is later", fontsize=8)
    figure.suptitle(f"Latencies of replies and of stops ({TWINS})", fontsize=10)
    save_figure(figure, path)
