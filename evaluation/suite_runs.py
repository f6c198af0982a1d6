"""Suites played by several processes: batches of dialogues in, traces of every agent out.

A batch is the same whatever the number of processes, and whatever was played before, so a run ends
in the same numbers however often it was interrupted. What has been played is in `traces/`, one file
per set of dialogues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from microturn.configs.devices import choose_device
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.evaluation.agents.baselines import Agent, baseline
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.runner import TraceFile
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue

if TYPE_CHECKING:
    from microturn.model.checkpoint import LoadedCheckpoint

CHECKPOINT = "checkpoint"


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One set of dialogues that is to be played."""

    name: str
    samples: DialogueSet
    n_dialogues: int

    @property
    def folder(self) -> str:
        return str(self.samples.reader.folder)

    @property
    def seconds(self) -> float:
        """Length of one dialogue."""
        layout = self.samples.layout
        n = self.samples.reader.n_micro_turns
        return layout.duration_s(n)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Neighbouring dialogues of one set."""

    name: str
    folder: str
    first: int
    count: int
    seconds: float  # of one dialogue


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """Who plays, picklable: the checkpoint's folder and the names of baselines."""

    checkpoint: str
    baselines: tuple[str, ...]
    device: str
    seed: int
    batch_size: int
    listen: bool  # write down what the checkpoint's sound says, too
    through: str = "engine"

    @property
    def agents(self) -> list[str]:
        return ([CHECKPOINT] if self.checkpoint else []) + list(self.baselines)


@dataclass(frozen=True, kw_only=True)
class PlayTask:
    """Picklable: loads what is needed inside a worker, then plays batches."""

    cast: AgentSpec
    batches: tuple[Batch, ...]
    activity: ActivityConfig

    def __call__(self) -> Task:
        stage = Stage(self.cast, self.activity)

        def play(number: int) -> Report:
            return {"batch": number, "rows": stage.play(self.batches[number])}

        return play


class Stage:
    """The agents of one process; models are loaded once, voices once per set."""

    def __init__(self, cast: AgentSpec, activity: ActivityConfig) -> None:
        self._cast, self._activity = cast, activity
        self._folder, self._performers = "", dict[str, Agent]()
        self._checkpoint = checkpoint_performer(cast) if cast.checkpoint else None

    def play(self, batch: Batch) -> list[dict[str, Any]]:
        """One row per dialogue: its key, and the trace of every agent as JSON."""
        samples = DialogueSet.open(batch.folder)
        if batch.folder != self._folder:
            self._folder, self._performers = batch.folder, self.performers(samples)
        played = [samples.at(batch.first + i) for i in range(batch.count)]
        traces: list[dict[str, Any]] = [{} for _ in played]
        for name, performer in self._performers.items():
            for row, sample, one in zip(traces, played, performer.perform(played), strict=True):
                trace = Trace.of(one, self._activity, late=sample.load_late())
                if self._cast.listen and name == CHECKPOINT:
                    trace = _heard(trace, sample, one.audio)
                row[name] = trace.to_json()
        return [
            {"key": sample.key, "agents": row} for sample, row in zip(played, traces, strict=True)
        ]

    def performers(self, samples: DialogueSet) -> dict[str, Agent]:
        """Everybody who plays this set, by name."""
        found: dict[str, Agent] = {}
        if self._checkpoint is not None:
            found[CHECKPOINT] = self._checkpoint
        for name in self._cast.baselines:
            found[name] = baseline(name, samples.read, self._activity)
        return found


def checkpoint_performer(cast: AgentSpec) -> Agent:
    """The checkpoint in streaming sessions, in this process or behind a socket of its own."""
    if cast.through == "server":
        from microturn.evaluation.agents.through_server import ServedAgent

        return ServedAgent.start(cast.checkpoint, device=cast.device, seed=cast.seed)
    from microturn.evaluation.agents.streaming import StreamedAgent
    from microturn.inference.rows import RowBatch

    loaded = load(cast)
    return StreamedAgent(RowBatch(loaded, cast.batch_size, seed=cast.seed))


def load(cast: AgentSpec) -> LoadedCheckpoint:
    """The checkpoint on its device."""
    from microturn.model.checkpoint import load_checkpoint

    return load_checkpoint(cast.checkpoint, choose_device(cast.device))


def _heard(trace: Trace, sample: HeldOutDialogue, audio: Any) -> Trace:
    from dataclasses import replace

    from microturn.evaluation.speech.recognise import recognise

    return replace(trace, recognised=recognise(audio, sample, trace.activity))


def play_sets(
    sets: Sequence[HeldOut],
    cast: AgentSpec,
    activity: ActivityConfig,
    files: Mapping[str, TraceFile],
    *,
    workers: int,
    advance: Callable[[float], None],
) -> None:
    """Play what the trace files do not hold yet; `advance` gets seconds of dialogue."""
    batches, known = [], 0.0
    for one in sorted(sets, key=lambda s: -s.seconds):  # the longest first: nobody waits for it
        size = cast.batch_size if one.seconds < _LONG_S else 1
        for first in range(0, one.n_dialogues, size):
            count = min(size, one.n_dialogues - first)
            if all(one.samples.key(first + i) in files[one.name] for i in range(count)):
                known += count * one.seconds
                continue
            batches.append(
                Batch(
                    name=one.name,
                    folder=one.folder,
                    first=first,
                    count=count,
                    seconds=one.seconds,
                )
            )
    advance(known)
    task = PlayTask(cast=cast, batches=tuple(batches), activity=activity)
    executor = "serial" if workers == 1 else "processes"
    for report in run_tasks(task, range(len(batches)), workers=workers, executor=executor):
        batch = batches[report["batch"]]
        for row in report["rows"]:
            if row["key"] not in files[batch.name]:
                traces = {name: Trace.from_json(entry) for name, entry in row["agents"].items()}
                files[batch.name].add(row["key"], traces)
            advance(batch.seconds)


_LONG_S = 600.0  # dialogues beyond it are played one by one: batches of hours take memory


def traces_of(
    sets: Sequence[HeldOut], files: Mapping[str, TraceFile]
) -> Iterator[tuple[HeldOut, HeldOutDialogue, dict[str, Trace]]]:
    """Every dialogue with what each agent did in it."""
    for one in sets:
        for sample in one.samples.read(one.n_dialogues):
            yield one, sample, files[one.name].traces(sample.key)


def trace_file(folder: Path, name: str, header: Mapping[str, Any]) -> TraceFile:
    """The traces of one set below a result folder."""
    return TraceFile(folder / "traces" / f"{name}.jsonl", header)
