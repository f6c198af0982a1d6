"""The table of all suites, for people: one row per suite, then every metric of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.evaluation.scoring.timing import KINDS

TWINS: Final = "closed-domain twins"
BEGIN, END = "<!-- scores begin -->", "<!-- scores end -->"

_KIND_NAMES: Final = {
    "agent_ipu": "agent's inter-pausal units",
    "user_ipu": "user's inter-pausal units",
    "overlap": "overlaps",
    "pause": "pauses",
    "gap": "gaps",
}


def agents_of(scores: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Suites by agent, the one that is scored first."""
    agents = {scores["agent"]: scores["suites"]}
    return agents | {name: entry["suites"] for name, entry in scores["baselines"].items()}


def markdown(scores: Mapping[str, Any], shown: Sequence[Any] = ()) -> str:
    """scores.md."""
    lines = [f"# Scores on {TWINS}", "", tables(scores)]
    if shown:
        lines += ["## The worst dialogues", "", "Headline of the suite on this dialogue alone.", ""]
        lines += ["| suite | dialogue | headline | |", "|---|---|---:|---|"]
        lines += [
            f"| {one.suite} | {one.key} | {format_value('', one.value)} "
            f"| [timeline](worst/{one.stem}.png), [sound](worst/{one.stem}.wav) |"
            for one in shown
        ]
        lines.append("")
    lines.append(
        "![headlines](scores.png)\n\n![latencies](latencies.png)\n\n![scenarios](scenarios.png)"
    )
    return "\n".join(lines) + "\n"


def tables(scores: Mapping[str, Any]) -> str:
    """Headlines, every suite, timing."""
    agents = agents_of(scores)
    versions = ", ".join(f"{name} {value}" for name, value in scores["versions"].items())
    lines = [
        f"### All suites ({TWINS})",
        "",
        f"{scores['n_dialogues']} dialogues, {scores['minutes']:.0f} minutes, held-out voices, "
        f"seed {scores['seed']}; {versions}. Every suite is a closed-domain twin of the benchmark "
        "that it is named after: the same question, asked with the few hundred words of the "
        "corpus. Its numbers stand beside each other, never beside the benchmark's own. In "
        "brackets: 95 % bootstrap interval over dialogues.",
        "",
        f"| suite | headline | n | {' | '.join(agents)} |",
        f"|---|---|---:|{'---:|' * len(agents)}",
    ]
    for suite, entry in scores["suites"].items():
        metric = entry["headline_metric"]
        cells = [_with_interval(metric, one[suite]["details"][metric]) for one in agents.values()]
        lines.append(f"| {suite} | {metric} | {entry['n']} | {' | '.join(cells)} |")
    lines.append("")
    for suite in scores["suites"]:
        lines += _suite(suite, scores["suites"][suite], agents)
    lines += _timing(scores["timing"])
    return "\n".join(lines)


def _suite(
    suite: str, entry: Mapping[str, Any], agents: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    lines = [f"### {suite} (closed-domain twin): {entry['asks']}", "", entry["note"], ""]
    if entry["oracle_note"]:
        lines += [f"The oracle stays below 99 % here: {entry['oracle_note']}", ""]
    lines += [f"| metric | meaning | {' | '.join(agents)} |", f"|---|---|{'---:|' * len(agents)}"]
    for metric, meaning in entry["meanings"].items():
        name = f"**{metric}**" if metric == entry["headline_metric"] else metric
        details = [one[suite]["details"][metric] for one in agents.values()]
        first, *rest = details
        cells = [_with_interval(metric, first)]
        cells += [format_value(metric, detail["value"]) for detail in rest]
        meaning = meaning.replace("|", "\\|")
        lines.append(f"| {name} | {meaning} | {' | '.join(cells)} |")
    return [*lines, ""]


def _timing(timing: Mapping[str, Any]) -> list[str]:
    """Rates of the agent's own conversation beside the recorded ones."""
    lines = [
        f"### Timing of the conversations ({TWINS})",
        "",
        "Inter-pausal units (speech between silences of 0.2 s), overlaps, pauses and gaps as in "
        "the dGSLM paper, pooled over all dialogues: per minute, seconds per minute, and the "
        "Wasserstein-1 distance of their durations from the recorded dialogues (the oracle's).",
        "",
    ]
    names = list(timing)
    lines += [f"| | {' | '.join(names)} |", f"|---|{'---:|' * len(names)}"]
    for kind in KINDS:
        cells = [_kind(kind, timing[name]["kinds"][kind]) for name in names]
        lines.append(f"| {_KIND_NAMES[kind]} | {' | '.join(cells)} |")
    cells = [
        _seconds(timing[name]["offset_median_s"])
        + (f"; {_seconds(d)} off" if (d := timing[name].get("offset_distance_s")) else "")
        for name in names
    ]
    lines.append(f"| floor-transfer offset, median | {' | '.join(cells)} |")
    return [*lines, ""]


def _kind(kind: str, entry: Mapping[str, Any]) -> str:
    text = f"{entry['per_min'] or 0:.1f}/min, {entry['seconds_per_min'] or 0:.1f} s/min"
    distance = entry.get("distance_s")
    if distance is None or kind == "user_ipu":  # everybody hears the same user
        return text
    return f"{text}; {distance:.2f} s off"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def format_value(metric: str, value: float | None) -> str:
    """A metric with its unit, which its name tells."""
    if value is None:
        return "-"
    if metric.endswith("_per_min"):
        return f"{value:.2f}/min"
    if metric.endswith("_s"):
        return f"{value:.2f} s"
    if metric.endswith(("_error", "_n")):
        return f"{value:.2f}"
    if metric.endswith("_jsd"):
        return f"{value:.3f}"
    return f"{100 * value:.1f} %"


def _with_interval(metric: str, detail: Mapping[str, Any]) -> str:
    text = format_value(metric, detail["value"])
    if detail["ci95"] and detail["value"] is not None:
        low, high = (format_value(metric, edge) for edge in detail["ci95"])
        if low != high:
            text += f" [{low} to {high}]"
    return text


def summary(scores: Mapping[str, Any]) -> str:
    """What the command prints."""
    agents = agents_of(scores)
    names = list(agents)
    width = max(map(len, scores["suites"])) + 2
    lines = [" " * width + "".join(f"{name[:12]:>13}" for name in names)]
    for suite, entry in scores["suites"].items():
        metric = entry["headline_metric"]
        cells = [format_value(metric, one[suite]["headline"]) for one in agents.values()]
        lines.append(f"{suite:<{width}}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def put_into(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a page; raises ValueError without them."""
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"table={path} needs one line {BEGIN} and, below it, one line {END}")
    head, tail = page.split(BEGIN)[0], page.split(END)[1]
    write_atomically(path, f"{head}{BEGIN}\n{text}\n{END}{tail}")
