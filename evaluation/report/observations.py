"""`observations.jsonl`: a line per agent, suite and dialogue, for `microturn compare`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from microturn.configs.files import write_atomically
from microturn.configs.reading import lines_of, naming_damage
from microturn.evaluation.records import Records
from microturn.evaluation.report.scores import EVALUATE_AGAIN
from microturn.evaluation.suites.suite import Observations, Suite

NAME: Final = "observations.jsonl"


def write_observations(folder: Path, records: Records, *, suites: Sequence[Suite]) -> None:
    rows = [
        {"agent": agent, "suite": suite.name, "key": key, "observations": observations}
        for agent, record in records.agents.items()
        for suite in suites
        for key, observations in record.of_suite(suite).items()
    ]
    text = "".join(json.dumps(row, sort_keys=True, allow_nan=False) + "\n" for row in rows)
    write_atomically(folder / NAME, text)


def read_observations(folder: Path, agent: str) -> dict[str, dict[str, Observations]]:
    """Observations of one agent, by suite and dialogue; ValueError names a damaged file."""
    observations: dict[str, dict[str, Observations]] = {}
    with naming_damage(folder / NAME, EVALUATE_AGAIN):
        for line in lines_of((folder / NAME).read_text(encoding="utf-8")):
            row = json.loads(line)
            if row["agent"] == agent:
                observations.setdefault(row["suite"], {})[row["key"]] = row["observations"]
    return observations
