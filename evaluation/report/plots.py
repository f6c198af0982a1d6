"""Plots of a run: headlines, events by what they ask, and latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from microturn.evaluation.records import AgentRecord
from microturn.evaluation.report.figures import new_figure, save_figure
from microturn.evaluation.report.markdown import worlds_of
from microturn.evaluation.report.scores import Scores
from microturn.evaluation.scoring.outcomes import StopOutcome, TurnOutcome
from microturn.evaluation.suites.score_suite import SuiteScore

_BIN_S: Final = 0.05
_FIRST_S, _LAST_S = -0.5, 2.5

_Agents = Mapping[str, Mapping[str, SuiteScore]]  # suites by agent


def draw_plots(out: Path, scores: Scores, *, records: Mapping[str, AgentRecord]) -> None:
    """Write scores.png, scenarios.png and latencies.png."""
    worlds = worlds_of(scores)
    suites = {agent: one.suites for agent, one in scores.agents.items()}
    _bars(out / "scores.png", suites, f"Headlines of all suites ({worlds})")
    events = {
        agent: {name: score for name, score in one.events.items() if name != "overall"}
        for agent, one in scores.agents.items()
    }
    title = f"Events of all dialogues, by what they ask ({worlds})"
    _bars(out / "scenarios.png", events, title)
    _latencies(out / "latencies.png", records, worlds)


def _bars(path: Path, agents: _Agents, title: str) -> None:
    """One group of bars per suite, one bar per agent, intervals as whiskers."""
    first = next(iter(agents.values()))
    names = [
        name
        for name in first
        if any(suites[name].headline.value is not None for suites in agents.values())
    ]
    figure = new_figure(width=max(1.0 * len(names) + 2, 8.0), height=4.6)
    axis = figure.subplots()
    width = 0.8 / len(agents)
    for i, (agent, suites) in enumerate(agents.items()):
        places = [x + (i - (len(agents) - 1) / 2) * width for x in range(len(names))]
        heights = [suites[name].headline.value or 0.0 for name in names]
        axis.bar(places, heights, width, label=agent, yerr=_whiskers(suites, names))
    axis.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=8)
    axis.set_ylim(0, 1.05)
    axis.set_ylabel("headline, 1 is best")
    axis.set_title(title, fontsize=10)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=len(agents), fontsize=8)
    save_figure(figure, path)


def _whiskers(suites: Mapping[str, SuiteScore], names: Sequence[str]) -> list[list[float]]:
    """Distances from each headline to the ends of its interval."""
    below, above = [], []
    for name in names:
        value, ci95 = suites[name].headline.value, suites[name].headline.ci95
        low, high = ci95 or (value or 0.0, value or 0.0)
        below.append(max((value or 0.0) - low, 0.0))
        above.append(max(high - (value or 0.0), 0.0))
    return [below, above]


def _latencies(path: Path, records: Mapping[str, AgentRecord], worlds: str) -> None:
    """Reply and stop latencies of every agent, one below the other."""
    agents = [name for name in records if name not in ("silent", "always")] or list(records)
    figure = new_figure(width=10, height=1.6 * len(agents) + 1.2)
    axes = figure.subplots(len(agents), 2, sharex=True, squeeze=False)
    n_bins = round((_LAST_S - _FIRST_S) / _BIN_S)
    bins = [_FIRST_S + _BIN_S * i for i in range(n_bins + 1)]
    for row, agent in zip(axes, agents, strict=True):
        outcomes = [one for dialogue in records[agent].all_outcomes for one in dialogue]
        replies = [one.latency_s for one in outcomes if isinstance(one, TurnOutcome)]
        stops = [one.latency_s for one in outcomes if isinstance(one, StopOutcome)]
        kinds = {"replies": replies, "stops": stops}
        for axis, (kind, latencies_s) in zip(row, kinds.items(), strict=True):
            known = [value for value in latencies_s if value is not None]
            axis.hist([min(max(value, _FIRST_S), _LAST_S) for value in known], bins=bins)
            axis.set_title(f"{agent}: {len(known)} of {len(latencies_s)} {kind}", fontsize=8)
    for axis in axes[-1]:
        axis.set_xlabel("seconds; the last bin holds all that is later", fontsize=8)
    figure.suptitle(f"Latencies of replies and of stops ({worlds})", fontsize=10)
    save_figure(figure, path)
