"""Play dialogues to an agent, score them, and remember what is done.

Each scored dialogue is one line of `results.jsonl`, so a run that was interrupted goes on where
it was. The first line says what the results belong to; those of other inputs are not mixed in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from microturn.evaluation.baselines import Performer
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.events import Outcome, outcome_from_json, outcome_to_json, score
from microturn.evaluation.performance import Performance
from microturn.evaluation.samples import Sample
from microturn.evaluation.scene import Scene

FORMAT: Final = 1  # bump when outcomes mean something else

# agent: its outcomes, dialogue by dialogue
Results = dict[str, list[list[Outcome]]]


class ResultFile:
    """`results.jsonl`: a header, then one line per dialogue."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path = path
        self._header = {"format": FORMAT, **header}
        self.lines: dict[str, dict[str, Any]] = {}
        self._open()

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        rows = list(_complete_rows(self._path))
        if rows and rows[0] == self._header:
            self.lines = {row["key"]: row for row in rows[1:]}
        elif rows:
            print(f"{self._path} belongs to other inputs: starting over", file=sys.stderr)
        # Written again as a whole, so that half a line of a killed run does not stay in between.
        aside = self._path.with_name(self._path.name + ".tmp")
        rows = [self._header, *self.lines.values()]
        aside.write_text("".join(_line(row) for row in rows), encoding="utf-8")
        aside.replace(self._path)

    def add(self, row: dict[str, Any]) -> None:
        self.lines[row["key"]] = row
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_line(row))

    def results(self, agents: Sequence[str], keys: Sequence[str]) -> Results:
        """Outcomes by agent, dialogues in the order of `keys`."""
        return {
            agent: [
                [outcome_from_json(entry) for entry in self.lines[key]["outcomes"][agent]]
                for key in keys
            ]
            for agent in agents
        }


def play(
    samples: Iterable[Sample],
    performers: Mapping[str, Performer],
    file: ResultFile,
    *,
    windows: WindowConfig,
    activity: ActivityConfig,
    batch_size: int,
    again: Callable[[Sample], bool] = lambda sample: False,
    on_played: Callable[[Sample, Mapping[str, Scene]], None] = lambda sample, scenes: None,
    on_known: Callable[[], None] = lambda: None,
) -> list[str]:
    """Score every sample that `file` does not hold yet (or that is wanted `again`).

    Returns the keys of all samples in order. `again` is asked about every sample, in order;
    `on_played` sees each new performance, `on_known` is called for each that is skipped.
    """
    keys: list[str] = []

    def open_samples() -> Iterator[Sample]:
        for sample in samples:
            keys.append(sample.key)
            wanted = again(sample)
            if wanted or sample.key not in file.lines:
                yield sample
            else:
                on_known()

    todo = open_samples()
    while batch := list(islice(todo, batch_size)):
        performances = {name: agent.perform(batch) for name, agent in performers.items()}
        for sample in batch:
            scenes = {
                name: Scene(sample.dialogue, next(performed), windows, activity)
                for name, performed in performances.items()
            }
            file.add(_row(sample, scenes))
            on_played(sample, scenes)
    return keys


def score_performances(
    samples: Sequence[Sample],
    performer: Performer,
    *,
    windows: WindowConfig | None = None,
    activity: ActivityConfig | None = None,
) -> list[list[Outcome]]:
    """Outcomes of a few dialogues, without files: for a validation that listens."""
    windows, activity = windows or WindowConfig(), activity or ActivityConfig()
    return [
        score(Scene(sample.dialogue, performance, windows, activity))
        for sample, performance in zip(samples, performer.perform(samples), strict=True)
    ]


def _row(sample: Sample, scenes: Mapping[str, Scene]) -> dict[str, Any]:
    return {
        "key": sample.key,
        "families": list(sample.dialogue.families),
        "said": {name: _words(scene.performance) for name, scene in scenes.items()},
        "outcomes": {
            name: [outcome_to_json(outcome) for outcome in score(scene)]
            for name, scene in scenes.items()
        },
    }


def _words(performance: Performance) -> list[list[Any]]:
    return [[word.text, round(word.start_s, 3)] for word in performance.words]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n"


def _complete_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a result file; what a killed run left half written ends it."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            return
        if not isinstance(row, dict):
            return
        yield row
