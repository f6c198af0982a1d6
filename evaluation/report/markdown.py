"""Scores as text: `scores.md`, the tables of a page, and the summary that the command prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.datagen.sets.contents import CONTENTS_NAME, WEIGHTED_BY, new_people, shared_line
from microturn.evaluation.report.gallery import Picture
from microturn.evaluation.report.panel import floor_cell
from microturn.evaluation.report.scores import RunInfo, Scores, with_events
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.report.values import (
    format_interval,
    format_score,
    format_value,
    format_with_seeds,
)
from microturn.evaluation.scoring.timing import KINDS
from microturn.evaluation.suites.conditions import people
from microturn.evaluation.suites.conditions.people_many import ROWS_OF
from microturn.evaluation.suites.credit import FALSE_DELEGATES, SOUNDS, UNASKED
from microturn.evaluation.suites.score_suite import SuiteScore

TWINS: Final = "closed-domain twins"
OPEN: Final = "open speech"
BEGIN, END = "<!-- scores begin -->", "<!-- scores end -->"
# What stands beside every headline, and its column.
_RESTRAINT: Final = {
    UNASKED: "unasked/min",
    FALSE_DELEGATES: "false delegates/min",
    SOUNDS: "sounds as written",
}

_KIND_NAMES: Final = {
    "agent_ipu": "agent's inter-pausal units",
    "user_ipu": "user's inter-pausal units",
    "overlap": "overlaps",
    "pause": "pauses",
    "gap": "gaps",
}


def markdown(scores: Scores, pictures: Sequence[Picture] = ()) -> str:
    """`scores.md`."""
    lines = [f"# Scores on {worlds_of(scores)}", ""]
    lines += _targets(scores.targets)
    lines += [tables(scores)]
    lines += _pictures(pictures)
    lines.append(
        "![headlines](scores.png)\n\n![latencies](latencies.png)\n\n![scenarios](scenarios.png)"
    )
    return "\n".join(lines) + "\n"


def tables(scores: Scores) -> str:
    """Headlines, every suite, timing."""
    info = scores.info
    names = with_events(scores.first.suites)
    versions = ", ".join(f"{name} {value}" for name, value in info.versions.items())
    source = f"of `{info.data}`" if info.data else "of the suites' own sets"
    lines = [
        f"### All suites ({worlds_of(scores)})",
        "",
        f"{info.n_dialogues} dialogues {source}, {info.minutes:.0f} minutes, seed {info.seed}; "
        f"{versions}. {_about_twins(scores)}In brackets: 95 % interval over dialogues; n: events "
        f"behind the headline{_about_seeds(scores)}. Floor: what the best agent of the "
        "adversarial panel gets, or the line below which all of it stays.",
        "",
        f"| suite | headline | n | dialogues | {' | '.join(_RESTRAINT.values())} "
        f"| {' | '.join(scores.agents)} | floor (best of the panel) |",
        f"|---|---|---:|---:|{'---:|' * (len(_RESTRAINT) + len(scores.agents))}---:|",
    ]
    for name in names:
        for title, metric in _headlines(scores.first.suites[name]):
            row = [one.metrics[metric] for one in _row(scores, name)]
            first, *rest = row
            cells = [format_with_seeds(metric, first), *(format_score(metric, o) for o in rest)]
            counts = f"{row[0].n} | {row[0].n_dialogues} | {_restraint(scores, name)}"
            is_headline = metric == scores.first.suites[name].headline_metric
            floor = floor_cell(scores, name) if is_headline else "-"  # the panel's is its
            lines.append(f"| {title} | {metric} | {counts} | {' | '.join(cells)} | {floor} |")
    lines += ["", *_unplayed_people(names), *_shared(info)]
    for name in names:
        lines += _suite(scores, name)
    timing = {agent: one.timing for agent, one in scores.agents.items()}
    return "\n".join(lines + _timing(timing, worlds_of(scores)))


def worlds_of(scores: Scores) -> str:
    """What the suites of a table are: closed-domain twins, open speech, or both."""
    suites = scores.first.suites
    return worlds(suites[name].is_twin for name in with_events(suites))


def worlds(are_twins: Iterable[bool]) -> str:
    """Name the worlds of some suites, of each whether it is a twin."""
    kinds = set(are_twins) or {True}
    return " and ".join(text for twin, text in ((True, TWINS), (False, OPEN)) if twin in kinds)


def _about_seeds(scores: Scores) -> str:
    several = any(one.headline.by_seed for one in scores.first.suites.values())
    return "; in parentheses: each of the sets of a suite, by other seeds" if several else ""


def _about_twins(scores: Scores) -> str:
    played = worlds_of(scores)
    if played == OPEN:
        return ""
    which = "Every suite" if played == TWINS else f"Every suite but those of {OPEN}"
    return (
        f"{which} is a closed-domain twin: the question of the benchmark that it is named after, "
        "asked with the few hundred words of the corpus. Compare its numbers with each other, "
        "never with the benchmark's own. "
    )


def shared_sentence(info: RunInfo) -> str:
    """Say what the dialogues share with the training set of the checkpoint."""
    if not info.checkpoint:
        return ""
    if info.shared is None:
        return (
            "What training heard of these dialogues is not known: the checkpoint, or a set, has no "
            f"{CONTENTS_NAME}."
        )
    line = shared_line(info.shared)
    return f"{line[0].upper()}{line[1:]}."


def _shared(info: RunInfo) -> list[str]:
    """Tell, for every set, how much of it training heard."""
    lines = [text, ""] if (text := shared_sentence(info)) else []
    if info.shared is None or len(info.sets) < 2:
        return lines
    lines += [f"| set | {' | '.join(WEIGHTED_BY)} | new people |"]
    lines += [f"|---|{'---:|' * len(WEIGHTED_BY)}---:|"]
    for name, played in info.sets.items():
        if played.shared is not None:
            cells = [
                f"{played.shared[kind][f'share_of_{weight}']:.0%}"
                for kind, weight in WEIGHTED_BY.items()
            ]
            lines.append(f"| {name} | {' | '.join(cells)} | {new_people(played.shared):.0%} |")
    weights = ", ".join(f"of {kind} by {weight}" for kind, weight in WEIGHTED_BY.items())
    return [*lines, "", f"Shares of each set that training heard: {weights}.", ""]


def _headlines(score: SuiteScore) -> list[tuple[str, str]]:
    """Titles and metrics of a suite's rows: of those of people, each kind of people or request."""
    return [
        (score.name if metric == score.headline_metric else metric.replace("_", " "), metric)
        for metric in ROWS_OF.get(score.name, (score.headline_metric,))
    ]


def _unplayed_people(names: Sequence[str]) -> list[str]:
    if people.SUITE.name in names:
        return []
    return [
        f"Seen and unseen people are not compared here: `suites=[{people.SUITE.name}]` does.",
        "",
    ]


def _restraint(scores: Scores, suite: str) -> str:
    """The restraint of the scored agent, beside its headline."""
    metrics = scores.first.suites[suite].metrics
    rates = [metrics[name].value if name in metrics else None for name in _RESTRAINT]
    return " | ".join("-" if rate is None else f"{rate:.2f}" for rate in rates)


def _row(scores: Scores, suite: str) -> list[SuiteScore]:
    return [one.suites[suite] for one in scores.agents.values()]


def _suite(scores: Scores, name: str) -> list[str]:
    entry, row = scores.first.suites[name], _row(scores, name)
    lines = [f"### {name} ({'closed-domain twin' if entry.is_twin else OPEN}): {entry.asks}", ""]
    if entry.note:
        lines += [entry.note, ""]
    if entry.oracle_note:
        lines += [f"The oracle stays below 99 % here: {entry.oracle_note}", ""]
    lines += [f"| metric | meaning | n | {' | '.join(scores.agents)} |"]
    lines += [f"|---|---|---:|{'---:|' * len(row)}"]
    for metric, meaning in entry.meanings.items():
        name = f"**{metric}**" if metric == entry.headline_metric else metric
        first, *rest = [one.metrics[metric] for one in row]
        cells = [format_with_seeds(metric, first)]
        cells += [format_value(metric, other.value) for other in rest]
        meaning = meaning.replace("|", "\\|")
        lines.append(f"| {name} | {meaning} | {first.n} | {' | '.join(cells)} |")
    return [*lines, ""]


def _targets(checks: Sequence[TargetCheck]) -> list[str]:
    if not checks:
        return []
    rows = ["| target | reached | |", "|---|---|---|"]
    for check in checks:
        sign = "≥" if check.at_least else "≤"
        limit = format_value(check.metric, check.limit)
        value = format_value(check.metric, check.value)
        if check.value is not None and check.ci95:
            value += f" [{format_interval(check.metric, check.ci95)}]"
        mark = "reached" if check.met else "**off**" if check.missed else "within its interval"
        rows.append(f"| {check.suite}.{check.metric} {sign} {limit} | {value} | {mark} |")
    return [*rows, ""]


def _pictures(pictures: Sequence[Picture]) -> list[str]:
    if not pictures:
        return []
    lines = ["## Dialogues", "", "The first, then those with the worst headlines.", ""]
    lines += ["| set | dialogue | suite | headline | |", "|---|---|---|---:|---|"]
    lines += [
        f"| {one.source.name} | {one.key} | {one.suite or '-'} | {format_value('', one.value)} "
        f"| [timeline](pictures/{one.stem}.png), [sound](pictures/{one.stem}.wav) |"
        for one in pictures
    ]
    return [*lines, ""]


def _timing(timing: Mapping[str, Mapping[str, Any]], played: str) -> list[str]:
    """Rates of the agent's own conversation beside the recorded ones."""
    lines = [
        f"### Timing of the conversations ({played})",
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
    if distance is None or kind == "user_ipu":  # the user is the same for every agent
        return text
    return f"{text}; {distance:.2f} s off"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def summary(scores: Scores) -> str:
    """The text that the command prints: headlines by agent, then the targets."""
    suites = scores.first.suites
    width = max(map(len, suites), default=0) + 2
    lines = [" " * width + f"{'n':>7}" + "".join(f"{name[:12]:>13}" for name in scores.agents)]
    for name in with_events(suites):
        for title, metric in _headlines(suites[name]):
            row = [one.metrics[metric] for one in _row(scores, name)]
            cells = [format_value(metric, score.value) for score in row]
            lines.append(
                f"{title:<{width}}{row[0].n:>7}" + "".join(f"{cell:>13}" for cell in cells)
            )
    if text := shared_sentence(scores.info):
        lines.append(text)
    if scores.targets:
        n_met = sum(check.met for check in scores.targets)
        lines.append(f"{n_met} of {len(scores.targets)} targets reached")
        lines += [f"  off target: {check}" for check in scores.off_target]
        near = [check for check in scores.targets if not (check.met or check.missed)]
        lines += [f"  off target, within its interval: {check}" for check in near]
    return "\n".join(lines)


def check_page(path: Path, *, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Raise ValueError or OSError for a page without the two marks."""
    page, (begin, end) = path.read_text(encoding="utf-8"), marks
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise ValueError(f"{path} needs one line {begin} and, below it, one line {end}")


def put_into(path: Path, text: str, *, marks: tuple[str, str] = (BEGIN, END)) -> None:
    """Replace the text between the two marks of a page; raises ValueError without them."""
    check_page(path, marks=marks)
    page, (begin, end) = path.read_text(encoding="utf-8"), marks
    head, tail = page.split(begin)[0], page.split(end)[1]
    write_atomically(path, f"{head}{begin}\n{text}\n{end}{tail}")
