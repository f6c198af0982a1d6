"""Scores as files: `scores.json` for programs, `scores.md` and `scores.png` for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.suites.event_metrics import known_suites, meaning_of, metrics_of

_RATES: Final = ("_per_min",)
_SECONDS: Final = ("_s", "_from_earliest_s")


def scores_json(
    *,
    agent: str,
    source: Mapping[str, Any],
    n_dialogues: int,
    suites: Mapping[str, Any],
    baselines: Mapping[str, Mapping[str, Any]],
    checks: Sequence[TargetCheck],
) -> dict[str, Any]:
    """The machine-readable result; `suites.NAME.{headline,metrics,n,ci95}` is a contract."""
    return {
        "format": 1,
        "agent": agent,
        **source,
        "n_dialogues": n_dialogues,
        "suites": dict(suites),
        "baselines": {name: {"suites": dict(scores)} for name, scores in baselines.items()},
        "targets": [check.to_json() for check in checks],
        "off_target": [str(check) for check in checks if not check.met],
    }


def write_scores(out: Path, scores: Mapping[str, Any], checks: Sequence[TargetCheck]) -> None:
    """Write scores.json and scores.md whole or not at all."""
    text = json.dumps(scores, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(out / "scores.json", text)
    write_atomically(out / "scores.md", markdown(scores, checks))


def markdown(scores: Mapping[str, Any], checks: Sequence[TargetCheck]) -> str:
    """The score table beside the baselines, and the targets."""
    agents = {scores["agent"]: scores["suites"]}
    agents |= {name: entry["suites"] for name, entry in scores["baselines"].items()}
    lines = [
        "# Scores",
        "",
        f"{scores['n_dialogues']} dialogues of `{scores['data']}`, streamed in micro-turns. "
        "In brackets: 95 % bootstrap interval over dialogues; n: events.",
        "",
    ]
    if checks:
        lines += ["| target | reached | |", "|---|---|---|"]
        lines += [_check_row(check) for check in checks]
        lines.append("")
    for suite, entry in with_events(scores["suites"]).items():
        lines += [f"## {suite}: {entry['asks']}", ""]
        lines += [f"| metric | meaning | n | {' | '.join(agents)} |"]
        lines += [f"|---|---|---:|{'---:|' * len(agents)}"]
        for metric in metrics_of(suite):
            lines.append(_metric_row(suite, metric, entry, agents))
        lines.append("")
    lines.append("Definitions and windows: docs/suites.md.")
    return "\n".join(lines) + "\n"


def with_events(suites: Mapping[str, Any]) -> Mapping[str, Any]:
    """Suites of which the dialogues have events; all of them where there are none at all."""
    found = {
        name: entry
        for name, entry in suites.items()
        if any(detail["n"] for detail in entry["details"].values())
    }
    return found or suites


def summary(scores: Mapping[str, Any], checks: Sequence[TargetCheck]) -> str:
    """What the command prints."""
    rows = [
        f"  {suite:<18}{format_value(entry['headline_metric'], entry['headline']):>9}"
        f"   n={entry['n']:<5} {entry['asks']}"
        for suite, entry in with_events(scores["suites"]).items()
    ]
    lines = [f"{scores['agent']} on {scores['n_dialogues']} dialogues:", *rows]
    if checks:
        n_met = sum(check.met for check in checks)
        lines.append(f"{n_met} of {len(checks)} targets reached")
        lines += [f"  off target: {check}" for check in checks if not check.met]
    return "\n".join(lines)


def format_value(metric: str, value: float | None) -> str:
    """A metric with its unit."""
    if value is None:
        return "-"
    if metric.endswith(_RATES):
        return f"{value:.2f}/min"
    if metric.endswith(_SECONDS):
        return f"{value:.2f} s"
    return f"{100 * value:.1f} %"


def draw_scores(
    path: Path,
    scores: Mapping[str, Any],
    latencies_s: Sequence[float],
    *,
    limit_s: float,
) -> None:
    """Headlines beside the baselines, and the distribution of reply latencies."""
    from microturn.evaluation.report.figures import new_figure, save_figure

    figure = new_figure(width=11, height=4.2)
    bars, histogram = figure.subplots(1, 2, gridspec_kw={"width_ratios": [2.2, 1]})
    agents = {scores["agent"]: scores["suites"]}
    agents |= {name: entry["suites"] for name, entry in scores["baselines"].items()}
    names = [name for name in with_events(scores["suites"]) if name in known_suites()]
    width = 0.8 / len(agents)
    for i, (agent, suites) in enumerate(agents.items()):
        heights = [suites[name]["headline"] or 0.0 for name in names]
        places = [x + (i - (len(agents) - 1) / 2) * width for x in range(len(names))]
        bars.bar(places, heights, width, label=agent, yerr=_errors(suites, names))
    bars.set_xticks(range(len(names)), names, rotation=20, ha="right")
    bars.set_ylim(0, 1.05)
    bars.set_ylabel("headline, 1 is best")
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(agents), fontsize=8)
    histogram.hist(latencies_s, bins=[0.05 * i for i in range(-10, 41)], color="tab:blue")
    histogram.axvline(limit_s, color="tab:red", linestyle="--", label=f"window {limit_s:g} s")
    histogram.set_xlabel("reply latency in seconds")
    histogram.set_ylabel("turns")
    histogram.legend(loc="upper right", fontsize=8)
    save_figure(figure, path)


def _errors(suites: Mapping[str, Any], names: Sequence[str]) -> list[list[float]]:
    """Distances from each headline to its interval, as error bars want them."""
    below, above = [], []
    for name in names:
        value, interval = suites[name]["headline"], suites[name]["ci95"]
        below.append(max(value - interval[0], 0.0) if interval else 0.0)
        above.append(max(interval[1] - value, 0.0) if interval else 0.0)
    return [below, above]


def _check_row(check: TargetCheck) -> str:
    sign = "≥" if check.at_least else "≤"
    value = format_value(check.metric, check.value)
    limit = format_value(check.metric, check.limit)
    mark = "reached" if check.met else "**off**"
    return f"| {check.suite}.{check.metric} {sign} {limit} | {value} | {mark} |"


def _metric_row(
    suite: str, metric: str, entry: Mapping[str, Any], agents: Mapping[str, Mapping[str, Any]]
) -> str:
    first, *others = agents.values()
    detail = first[suite]["details"][metric]
    value = format_value(metric, detail["value"])
    if detail["ci95"]:
        low, high = (format_value(metric, edge) for edge in detail["ci95"])
        value += f" [{low} to {high}]"
    cells = [value, *(format_value(metric, other[suite]["metrics"][metric]) for other in others)]
    name = f"**{metric}**" if metric == entry["headline_metric"] else metric
    return f"| {name} | {meaning_of(suite, metric)} | {detail['n']} | {' | '.join(cells)} |"
