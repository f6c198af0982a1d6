"""Plays sets of dialogues to agents in several processes, and keeps their traces.

A batch is the same whatever the number of processes, and whatever was played before, so a run ends
in the same numbers however often it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from microturn.configs.devices import choose_device, uses_gpu
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task, n_cores
from microturn.evaluation.agents.baselines import Agent, baseline
from microturn.evaluation.agents.panel import panel_of
from microturn.evaluation.config import SILENCE_MS, ActivityConfig, EvaluateConfig
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.speech.silero import speech_spans
from microturn.evaluation.speech.voice import AgentVoice, words_needed
from microturn.evaluation.traces import TraceFile

CHECKPOINT: Final = "checkpoint"
SEED_MARK: Final = "@"  # before the seed, in names and keys of sets that were made once more
_OWN_VOICE: Final = (CHECKPOINT, "oracle")  # agents that speak with the voice of the set
_TEMPLATE_DIALOGUES: Final = 256  # more than enough to hear every word of the agent once
_LONG_S: Final = 600.0  # longer dialogues are played one by one: batches of hours take memory


@dataclass(frozen=True, kw_only=True)
class PlayedSet:
    """The first dialogues of a shard set."""

    name: str  # with `@SEED` behind it where the set of a suite was made once more
    folder: str
    n_dialogues: int
    dialogue_s: float  # length of one dialogue
    by_speech: bool = False  # whether a detector of speech listens to the agents

    @classmethod
    def of(
        cls, name: str, dialogues: DialogueSet, *, n_dialogues: int, by_speech: bool = False
    ) -> PlayedSet:
        return cls(
            name=name,
            folder=str(dialogues.reader.folder),
            n_dialogues=n_dialogues,
            dialogue_s=dialogues.layout.duration_s(dialogues.reader.n_micro_turns),
            by_speech=by_speech,
        )

    @property
    def plays(self) -> str:
        """The `set_name` of the suites that it is played for."""
        return self.name.partition(SEED_MARK)[0]

    def key_among_all(self, key: str) -> str:
        """The key of one of its dialogues among those of all sets of a suite."""
        _, mark, seed = self.name.partition(SEED_MARK)
        return f"{key}{mark}{seed}"

    @property
    def total_s(self) -> float:
        return self.n_dialogues * self.dialogue_s

    def open(self) -> DialogueSet:
        return DialogueSet.open(self.folder)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Neighbouring dialogues of one set."""

    source: PlayedSet
    first: int
    n_dialogues: int


@dataclass(frozen=True, kw_only=True)
class AgentSpec:
    """The agents of a run, picklable: a checkpoint's folder and names of baselines."""

    checkpoint: str
    baselines: tuple[str, ...]
    device: str
    seed: int
    batch_size: int
    silence_ms: int = SILENCE_MS  # that ends a turn to the baselines
    recognise: bool = False  # also take the checkpoint's words from its sound alone
    through: str = "engine"
    panel: tuple[str, ...] = ()  # members of the adversarial panel

    @property
    def agents(self) -> list[str]:
        return ([CHECKPOINT] if self.checkpoint else []) + list(self.baselines)

    @property
    def players(self) -> list[str]:
        """All that play: the agents that are reported, and the panel behind the floor."""
        return [*self.agents, *self.panel]


@dataclass(frozen=True, kw_only=True)
class PlayTask:
    """Picklable: loads the agents inside a worker process, then plays batches."""

    spec: AgentSpec
    batches: tuple[Batch, ...]
    activity: ActivityConfig

    def __call__(self) -> Task:
        player = Player(self.spec, self.activity)

        def play(number: int) -> Report:
            return {"batch": number, "traces": player.play(self.batches[number])}

        return play


class Player:
    """The agents of one process; the model is loaded once, voices once per set."""

    def __init__(self, spec: AgentSpec, activity: ActivityConfig) -> None:
        self._spec, self._activity = spec, activity
        self._checkpoint = checkpoint_agent(spec) if spec.checkpoint else None
        self._source: PlayedSet | None = None
        self._agents: dict[str, Agent] = {}
        self._voice: AgentVoice | None = None

    def play(self, batch: Batch) -> dict[str, dict[str, Trace]]:
        """Traces by dialogue and agent."""
        self._use(batch.source)
        dialogues = batch.source.open()
        played = [dialogues.at(batch.first + i) for i in range(batch.n_dialogues)]
        traces: dict[str, dict[str, Trace]] = {dialogue.key: {} for dialogue in played}
        for name, agent in self._agents.items():
            for dialogue, output in zip(played, agent.perform(played), strict=True):
                traces[dialogue.key][name] = self._trace(name, dialogue, output)
        return traces

    def play_again(self, source: PlayedSet, key: str) -> tuple[HeldOutDialogue, AgentOutput, Trace]:
        """Play one dialogue to the first agent; returns its output with sound."""
        self._use(source)
        dialogue = source.open().find(key)
        name, agent = next(iter(self._agents.items()))
        output = next(agent.perform([dialogue]))
        return dialogue, output, self._trace(name, dialogue, output)

    def _use(self, source: PlayedSet) -> None:
        """Prepare for a set: baselines speak with its voice."""
        if source == self._source:
            return
        self._source, dialogues = source, source.open()
        self._agents = {} if self._checkpoint is None else {CHECKPOINT: self._checkpoint}
        for name in self._spec.baselines:
            self._agents[name] = baseline(
                name, dialogues.read, config=self._activity, silence_ms=self._spec.silence_ms
            )
        if self._spec.panel:
            self._agents |= panel_of(self._spec.panel, dialogues.read)
        needed = words_needed(one.dialogue for one in dialogues.read(source.n_dialogues))
        self._voice = AgentVoice.of(dialogues.read(), self._activity, needed=needed)

    def _trace(self, name: str, dialogue: HeldOutDialogue, output: AgentOutput) -> Trace:
        assert self._voice is not None
        assert self._source is not None
        by_speech = self._source.by_speech
        trace = Trace.of(
            output,
            self._activity,
            sounds=self._voice.listen(output),
            missing_input=dialogue.load_missing_input(),
            speech=speech_spans(output.audio, output.sample_rate) if by_speech else None,
        )
        if self._spec.recognise and name == CHECKPOINT:
            trace = replace(trace, recognised=self._voice.recognise(output))
        return trace


def checkpoint_agent(spec: AgentSpec) -> Agent:
    """Start the checkpoint in streaming sessions, in this process or behind a socket."""
    if spec.through == "server":
        from microturn.evaluation.agents.through_server import ServedAgent

        return ServedAgent.start(spec.checkpoint, device=spec.device, seed=spec.seed)
    from microturn.evaluation.agents.streaming import StreamedAgent
    from microturn.inference.rows import RowBatch
    from microturn.model.checkpoint import load_checkpoint

    loaded = load_checkpoint(spec.checkpoint, choose_device(spec.device))
    return StreamedAgent(RowBatch(loaded, spec.batch_size, seed=spec.seed))


def n_processes(config: EvaluateConfig) -> int:
    """Number of processes that play; a GPU and a server exist once."""
    if config.workers:
        return config.workers
    if config.checkpoint and config.through == "server":
        return 1
    if config.checkpoint and uses_gpu(config.device):
        return 1
    return n_cores()


def play_sets(
    sets: Sequence[PlayedSet],
    spec: AgentSpec,
    *,
    files: Mapping[str, TraceFile],
    activity: ActivityConfig,
    workers: int,
    advance: Callable[[float], None],
) -> None:
    """Play what the trace files do not hold yet; `advance` gets seconds of dialogue."""
    batches = list(missing_batches(sets, files, batch_size=spec.batch_size))
    missing_s = sum(batch.n_dialogues * batch.source.dialogue_s for batch in batches)
    advance(sum(source.total_s for source in sets) - missing_s)
    workers = min(workers, len(batches))
    task = PlayTask(spec=spec, batches=tuple(batches), activity=activity)
    executor = "processes" if workers > 1 else "serial"
    for report in run_tasks(task, range(len(batches)), workers=workers, executor=executor):
        source = batches[report["batch"]].source
        for key, traces in report["traces"].items():
            if key not in files[source.name]:
                files[source.name].add(key, traces)
            advance(source.dialogue_s)


def missing_batches(
    sets: Sequence[PlayedSet], files: Mapping[str, TraceFile], *, batch_size: int
) -> Iterator[Batch]:
    """Batches with a dialogue that was not played yet, the longest dialogues first."""
    for source in sorted(sets, key=lambda source: -source.dialogue_s):
        dialogues = source.open()
        size = batch_size if source.dialogue_s < _LONG_S else 1
        for first in range(0, source.n_dialogues, size):
            n_dialogues = min(size, source.n_dialogues - first)
            keys = [dialogues.key(first + i) for i in range(n_dialogues)]
            if not all(key in files[source.name] for key in keys):
                yield Batch(source=source, first=first, n_dialogues=n_dialogues)
