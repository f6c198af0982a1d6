"""Play dialogues to agents and remember what they did, so that an interrupted run goes on.

`traces.jsonl` holds one line per dialogue: of each agent the words, the times of its speech and
what it delegated. Scores are made from it anew every time. Its first line says what the traces
belong to; those of other inputs are not mixed in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.evaluation.agents.baselines import Agent
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import Outcome
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.sound import WordSounds

FORMAT: Final = 2  # bump when the lines of a trace file mean something else

# agent: its outcomes, dialogue by dialogue
Results = dict[str, list[list[Outcome]]]


class TraceFile:
    """`traces.jsonl`: a header, then one line per dialogue."""

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._path = path
        self._header = {"format": FORMAT, **header}
        self._lines: dict[str, dict[str, Any]] = {}
        self._open()

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def add(self, key: str, traces: Mapping[str, Trace]) -> None:
        line = {"key": key, "agents": {name: trace.to_json() for name, trace in traces.items()}}
        self._lines[key] = line
        with self._path.open("a", encoding="utf-8") as file:
            file.write(_text(line))

    def traces(self, key: str) -> dict[str, Trace]:
        """What each agent did in a dialogue."""
        agents = self._lines[key]["agents"]
        return {name: Trace.from_json(entry) for name, entry in agents.items()}

    def _open(self) -> None:
        rows = list(_complete_rows(self._path))
        if rows and rows[0] == self._header:
            self._lines = {row["key"]: row for row in rows[1:]}
        elif rows:
            print(f"{self._path} belongs to other inputs: starting over", file=sys.stderr)
        # Written again as a whole, so that half a line of a killed run does not stay in between.
        lines = [self._header, *self._lines.values()]
        write_atomically(self._path, "".join(_text(line) for line in lines))


def play(
    samples: Iterable[HeldOutDialogue],
    performers: Mapping[str, Agent],
    file: TraceFile,
    *,
    activity: ActivityConfig,
    batch_size: int,
    sounds: Mapping[str, WordSounds] | None = None,
    again: Callable[[HeldOutDialogue], bool] = lambda sample: False,
    on_played: Callable[
        [HeldOutDialogue, Mapping[str, AgentOutput]], None
    ] = lambda sample, played: None,
    on_known: Callable[[], None] = lambda: None,
) -> list[Dialogue]:
    """Play every sample that `file` does not hold yet (or that is wanted `again`).

    The words of agents named in `sounds` are compared with recordings of their voice.

    Batches are the same however often a run was interrupted, so it ends in the same results even
    where a model's arithmetic depends on what it is batched with. Returns the dialogues of all
    samples in order. `again` is asked about every sample, in order; `on_played` sees each new
    performance, `on_known` is called for each that is skipped.
    """
    dialogues: list[Dialogue] = []
    rest = iter(samples)
    while batch := list(islice(rest, batch_size)):
        dialogues += [sample.dialogue for sample in batch]
        wanted = [again(sample) for sample in batch]
        if not any(wanted) and all(sample.key in file for sample in batch):
            for _ in batch:
                on_known()
            continue
        performances = {name: agent.perform(batch) for name, agent in performers.items()}
        for sample in batch:
            played = {name: next(performed) for name, performed in performances.items()}
            if sample.key not in file:
                file.add(sample.key, _traces(sample, played, activity, sounds or {}))
            on_played(sample, played)
    return dialogues


def _traces(
    sample: HeldOutDialogue,
    played: Mapping[str, AgentOutput],
    activity: ActivityConfig,
    sounds: Mapping[str, WordSounds],
) -> dict[str, Trace]:
    traces, late = {}, sample.load_late()
    for name, one in played.items():
        near = sounds[name].nearest(one.audio, one.words) if name in sounds else None
        traces[name] = Trace.of(one, activity, near, late)
    return traces


def score_traces(
    dialogues: Sequence[Dialogue], file: TraceFile, agents: Sequence[str], windows: WindowConfig
) -> Results:
    """Outcomes of what was played, by agent."""
    results: Results = {agent: [] for agent in agents}
    for dialogue in dialogues:
        traces = file.traces(dialogue.key)
        for agent in agents:
            results[agent].append(score(ScoredDialogue(dialogue, traces[agent], windows)))
    return results


def _text(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n"


def _complete_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a trace file; what a killed run left half written ends it."""
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
