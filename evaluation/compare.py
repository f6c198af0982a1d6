"""`microturn compare A B`: which differences between two evaluations are more than chance.

Both have played the same dialogues, so the resampling is paired: each resample draws dialogues, and
both are measured on the same ones. The p-value belongs to the interval of the difference
(`suites/intervals.py`): below 5 % exactly where that excludes zero. Headlines are corrected for
their number (Holm); other metrics are listed with their interval, and one in twenty of these
excludes zero by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.configs.command import write_json
from microturn.evaluation.config import CompareConfig
from microturn.evaluation.report import scores as score_file
from microturn.evaluation.report.markdown import worlds
from microturn.evaluation.report.observations import NAME, read_observations
from microturn.evaluation.report.values import format_interval, format_value
from microturn.evaluation.runner import SEED_MARK
from microturn.evaluation.suites.intervals import (
    Interval,
    difference_interval,
    is_share,
    percentiles,
)
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import (
    MetricScore,
    draw_dialogues,
    resampled,
    with_intervals,
)
from microturn.evaluation.suites.suite import Observations, Suite

LEVEL: Final = 0.05
MIN_DIALOGUES: Final = 4  # fewer tell nothing about others

_ByDialogue = Mapping[str, Observations]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of both, second minus first."""

    suite: str
    metric: str
    headline: bool
    first: float | None
    second: float | None
    difference: float | None
    ci95: Interval | None
    p: float | None
    n: int  # dialogues
    significant: bool = False


def compare(config: CompareConfig) -> int:
    """Run the command."""
    runs = [_Run.read(folder, config.agent) for folder in (config.first, config.second)]
    first, second = runs
    shared = [name for name in first.observations if name in second.observations]
    if not shared:
        raise ValueError(f"{config.first} and {config.second} have no suite in common")
    rows: list[Difference] = []
    for name in shared:
        if first.sha256(name) != second.sha256(name):
            raise ValueError(
                f"{config.first} and {config.second} played other dialogues of {name}; evaluate "
                "both with the same corpus and the same clock of the layout"
            )
        rows += differences(
            load_suite(name),
            first.observations[name],
            second.observations[name],
            seed=config.seed,
            n=config.resamples,
        )
    rows = holm(rows)
    result = {
        "first": config.first,
        "second": config.second,
        "agents": [run.agent for run in runs],
        "seed": config.seed,
        "resamples": config.resamples,
        "differences": [asdict(row) for row in rows],
    }
    write_json(result, config.json)
    if config.json != "-":
        print(text(rows, config.first, config.second))
    return 0


@dataclass(frozen=True, kw_only=True)
class _Run:
    """One agent of a result folder."""

    agent: str
    observations: Mapping[str, dict[str, Observations]]  # by suite and dialogue
    scores: score_file.Scores

    @classmethod
    def read(cls, folder: str, agent: str) -> _Run:
        """Raises FileNotFoundError or ValueError when the folder holds no such evaluation."""
        for name in (NAME, score_file.NAME):
            if not (Path(folder) / name).is_file():
                raise FileNotFoundError(
                    f"{folder} holds no {name}; microturn evaluate checkpoint=DIR out={folder}"
                )
        scores = score_file.read_scores(folder)
        agent = agent or scores.agent
        observations = read_observations(Path(folder), agent)
        if not observations:
            known = ", ".join(scores.agents)
            raise ValueError(f"agent={agent!r} is not in {folder}; there are {known}")
        return cls(agent=agent, observations=observations, scores=scores)

    def sha256(self, suite: str) -> str:
        """The digests of the suite's dialogues."""
        name = self.scores.first.suites[suite].set_name
        played = self.scores.info.sets.items()
        return " ".join(one.sha256 for own, one in played if own.partition(SEED_MARK)[0] == name)


def differences(
    suite: Suite, first: _ByDialogue, second: _ByDialogue, *, seed: int, n: int
) -> list[Difference]:
    """Every metric of a suite on the dialogues that both have played."""
    keys = [key for key in first if key in second]
    draws = draw_dialogues(len(keys), n, seed=seed)
    scores, samples = [], []
    for run in (first, second):
        dialogues = [run[key] for key in keys]
        values = suite.check(suite.measure(dialogues))
        samples.append(resampled(suite, dialogues, draws))
        scores.append(with_intervals(suite, dialogues, values=values, resamples=samples[-1]))
    return [
        _difference(
            suite,
            name,
            scores=(scores[0][name], scores[1][name]),
            samples=(samples[0][:, column], samples[1][:, column]),
        )
        for column, name in enumerate(suite.meanings)
    ]


def _difference(
    suite: Suite,
    metric: str,
    *,
    scores: tuple[MetricScore, MetricScore],
    samples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Difference:
    first, second = scores
    difference = ci95 = p = None
    if first.value is not None and second.value is not None:
        difference = second.value - first.value
        if first.n_dialogues >= MIN_DIALOGUES:
            ci95 = _interval(metric, scores, samples)
        if ci95 is not None:
            p = p_value(difference, ci95)
    return Difference(
        suite=suite.name,
        metric=metric,
        headline=metric == suite.headline,
        first=first.value,
        second=second.value,
        difference=difference,
        ci95=ci95,
        p=p,
        n=first.n_dialogues,
    )


def _interval(
    metric: str,
    scores: tuple[MetricScore, MetricScore],
    samples: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Interval | None:
    shares = [
        (one.value, one.ci95)
        for one in scores
        if one.value is not None and 0 <= one.value <= 1 and one.ci95 is not None
    ]
    if not is_share(metric) or len(shares) < 2:
        return percentiles(samples[1] - samples[0], scores[0].n_dialogues)
    return difference_interval(*shares, correlation=_correlation(*samples))


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Correlation of two metrics over resamples; 0 where one of them never changes."""
    finite = np.isfinite(first) & np.isfinite(second)
    if not finite.any() or not first[finite].std() or not second[finite].std():
        return 0.0
    return float(np.corrcoef(first[finite], second[finite])[0, 1])


def p_value(difference: float, ci95: Interval) -> float:
    """Two-sided p-value of a difference whose interval is normal on the side of zero."""
    if not difference:
        return 1.0
    reach = difference - ci95[0] if difference > 0 else ci95[1] - difference
    if not reach:
        return 0.0
    normal = NormalDist()
    return 2 * (1 - normal.cdf(abs(difference) / reach * normal.inv_cdf(1 - LEVEL / 2)))


def holm(rows: Sequence[Difference]) -> list[Difference]:
    """Mark headlines that are significant among all headlines, others by their own p-value."""
    tested = sorted((row.p, i) for i, row in enumerate(rows) if row.headline and row.p is not None)
    significant: set[int] = set()
    for rank, (p, i) in enumerate(tested):
        if p is None or p > LEVEL / (len(tested) - rank):
            break
        significant.add(i)
    marked = []
    for i, row in enumerate(rows):
        alone = not row.headline and row.p is not None and row.p <= LEVEL
        marked.append(replace(row, significant=i in significant or alone))
    return marked


def text(rows: Sequence[Difference], first: str, second: str) -> str:
    """Headlines, then every other metric that differs."""
    headlines = [row for row in rows if row.headline]
    played = worlds(load_suite(name).is_twin for name in dict.fromkeys(row.suite for row in rows))
    lines = [f"{second} minus {first} ({played}); * is more than chance at {LEVEL:.0%}", ""]
    lines += [_line(row) for row in headlines]
    others = [row for row in rows if not row.headline and row.significant]
    if others:
        lines += ["", "other metrics whose interval excludes no difference (not corrected):"]
        lines += [_line(row) for row in others]
    n_differ = sum(row.significant for row in headlines)
    lines += ["", f"{n_differ} of {len(headlines)} headlines differ (Holm)"]
    return "\n".join(lines)


def _line(row: Difference) -> str:
    name = f"{row.suite}.{row.metric}"
    first, second = (format_value(row.metric, value) for value in (row.first, row.second))
    line = f"{'*' if row.significant else ' '} {name:<44}{first:>10} -> {second:<10}"
    if row.ci95 is not None and row.p is not None:
        line += f" [{format_interval(row.metric, row.ci95)}], p = {row.p:.3f}"
    return line.rstrip()
