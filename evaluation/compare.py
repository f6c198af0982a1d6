"""`microturn compare A B`: which differences between two evaluations are more than chance.

Both have played the same dialogues, so the resampling is paired: each resample draws dialogues, and
both are measured on the same ones. The p-value is twice the share of resamples on the other side of
zero. Headlines are corrected for their number (Holm); other metrics are listed with their interval,
and one in twenty of these excludes zero by chance.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from microturn.configs.command import write_json
from microturn.evaluation.config import CompareConfig
from microturn.evaluation.report.tables import TWINS, format_value
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import MIN_DIALOGUES, interval, resampled
from microturn.evaluation.suites.suite import Observations, Suite
from microturn.evaluation.table import FACTS_NAME

LEVEL: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of both, second minus first."""

    suite: str
    metric: str
    headline: bool
    first: float | None
    second: float | None
    difference: float | None
    ci95: tuple[float, float] | None
    p: float | None
    n: int
    significant: bool = False


def compare(config: CompareConfig) -> int:
    """Run the command."""
    first, second = _Run.read(config.first, config.agent), _Run.read(config.second, config.agent)
    shared = [name for name in first.facts if name in second.facts]
    if not shared:
        raise ValueError(f"{config.first} and {config.second} have no suite in common")
    found: list[Difference] = []
    for name in shared:
        suite = load_suite(name)
        if first.data(suite) != second.data(suite):
            raise ValueError(
                f"{config.first} and {config.second} played other dialogues of {name}; evaluate "
                "both with the same corpus and the same clock of the layout"
            )
        found += differences(
            suite, first.facts[name], second.facts[name], seed=config.seed, n=config.resamples
        )
    found = holm(found)
    result = {
        "first": config.first,
        "second": config.second,
        "agents": [first.agent, second.agent],
        "seed": config.seed,
        "resamples": config.resamples,
        "differences": [asdict(one) for one in found],
    }
    write_json(result, config.json)
    if config.json != "-":
        print(text(found, config.first, config.second))
    return 0


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What a result folder holds of one agent."""

    agent: str
    facts: dict[str, dict[str, Observations]]  # by suite and dialogue
    sets: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str, agent: str) -> _Run:
        """Raises FileNotFoundError or ValueError when the folder holds no such evaluation."""
        path = Path(folder)
        if not (path / FACTS_NAME).is_file() or not (path / "scores.json").is_file():
            raise FileNotFoundError(
                f"{folder} holds no {FACTS_NAME}; microturn evaluate checkpoint=DIR out={folder}"
            )
        scores = json.loads((path / "scores.json").read_text(encoding="utf-8"))
        chosen = agent or scores["agent"]
        facts: dict[str, dict[str, Observations]] = {}
        for line in (path / FACTS_NAME).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["agent"] == chosen:
                facts.setdefault(row["suite"], {})[row["key"]] = row["facts"]
        if not facts:
            known = ", ".join([scores["agent"], *scores["baselines"]])
            raise ValueError(f"agent={chosen!r} is not in {folder}; there are {known}")
        return cls(agent=chosen, facts=facts, sets=scores["sets"])

    def data(self, suite: Suite) -> str:
        """The digest of the suite's dialogues."""
        return str(self.sets[suite.set_name]["sha256"])


def differences(
    suite: Suite,
    first: Mapping[str, Observations],
    second: Mapping[str, Observations],
    *,
    seed: int,
    n: int,
) -> list[Difference]:
    """Every metric of a suite on the dialogues that both have played."""
    keys = [key for key in first if key in second]
    ours, theirs = [first[key] for key in keys], [second[key] for key in keys]
    rng = np.random.default_rng([seed, len(keys)])
    draws = rng.integers(0, max(len(keys), 1), (n, len(keys)))
    a, b = suite.check(suite.measure(ours)), suite.check(suite.measure(theirs))
    few = len(keys) < MIN_DIALOGUES
    rows = None if few else resampled(suite, theirs, draws) - resampled(suite, ours, draws)
    found = []
    for column, name in enumerate(suite.meanings):
        one, other = a[name], b[name]
        known = rows is not None and one is not None and other is not None
        spread = rows[:, column] if known and rows is not None else np.array([])
        found.append(
            Difference(
                suite=suite.name,
                metric=name,
                headline=name == suite.headline,
                first=one,
                second=other,
                difference=None if one is None or other is None else other - one,
                ci95=interval(spread),
                p=_p_value(spread),
                n=len(keys),
            )
        )
    return found


def _p_value(spread: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """Twice the share of resamples at or beyond zero, never below what they can resolve."""
    kept = spread[np.isfinite(spread)]
    if not len(kept):
        return None
    side = min((kept <= 0).sum(), (kept >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(kept) + 1)))


def holm(found: Sequence[Difference]) -> list[Difference]:
    """Mark headlines that are significant among all headlines, others by their own p-value."""
    tested = sorted((one.p, i) for i, one in enumerate(found) if one.headline and one.p is not None)
    significant: set[int] = set()
    for rank, (p, i) in enumerate(tested):
        if p is None or p > LEVEL / (len(tested) - rank):
            break
        significant.add(i)
    marked = []
    for i, one in enumerate(found):
        alone = not one.headline and one.p is not None and one.p <= LEVEL
        marked.append(Difference(**{**asdict(one), "significant": i in significant or alone}))
    return marked


def text(found: Sequence[Difference], first: str, second: str) -> str:
    """Headlines, then every other metric that differs."""
    lines = [f"{second} minus {first} ({TWINS}); * is more than chance at {LEVEL:.0%}", ""]
    lines += [_row(one) for one in found if one.headline]
    others = [one for one in found if not one.headline and one.significant]
    if others:
        lines += ["", "other metrics whose interval excludes no difference (not corrected):"]
        lines += [_row(one) for one in others]
    n = sum(one.significant for one in found if one.headline)
    lines += ["", f"{n} of {sum(one.headline for one in found)} headlines differ (Holm)"]
    return "\n".join(lines)


def _row(one: Difference) -> str:
    name = f"{one.suite}.{one.metric}"
    values = [format_value(one.metric, value) for value in (one.first, one.second)]
    row = f"{'*' if one.significant else ' '} {name:<44}{values[0]:>10} -> {values[1]:<10}"
    if one.ci95 is not None and one.p is not None:
        low, high = (format_value(one.metric, edge) for edge in one.ci95)
        row += f" [{low} to {high}], p = {one.p:.3f}"
    return row.rstrip()
