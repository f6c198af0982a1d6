"""Lets agents talk with users in several processes, and keeps what came of it.

`traces/AGENT.jsonl` has a line for each conversation of an agent: its trace, the labels of what
happened around it, and what the user did because of it. Batches are the same whatever the number of
processes, and whatever was played before, so a run ends in the same numbers however often it was
interrupted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import make_folder
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.sets.shards import key_of
from microturn.evaluation.agents.panel import PANEL
from microturn.evaluation.agents.talking import dialogue_of, microphone_of
from microturn.evaluation.closed_loop.talkers import Talkers
from microturn.evaluation.closed_loop.users import ReactingUsers, did_of
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.report.pictures import draw_dialogue, write_mix
from microturn.evaluation.runner import CHECKPOINT
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.speech.voice import AgentVoice, words_needed
from microturn.evaluation.traces import TraceFile

_LABELS: Final = "labels"
_DID: Final = "did"


@dataclass(frozen=True, kw_only=True)
class TalkBatch:
    """Conversations of one agent with neighbouring users."""

    agent: str
    first: int
    n: int


@dataclass(frozen=True, kw_only=True)
class TalkTask:
    """Picklable: makes the agents inside a worker process, then lets them talk."""

    config: EvaluateConfig
    users: ReactingUsers
    batches: tuple[TalkBatch, ...]

    def __call__(self) -> Task:
        conversations = _Conversations(self.config, self.users)

        def talk(number: int) -> Report:
            return {"batch": number, "talks": list(conversations.hold(self.batches[number]))}

        return talk


class _Conversations:
    """The agents of one process, and the voice that their sound is compared with."""

    def __init__(self, config: EvaluateConfig, users: ReactingUsers) -> None:
        self._config, self._users = config, users
        self._talkers = Talkers(config, users)

    @cached_property
    def _voice(self) -> AgentVoice:
        planned = self._users.planned
        needed = words_needed(one.dialogue for one in planned)
        return AgentVoice.of(planned, self._config.activity, needed=needed)

    def hold(self, batch: TalkBatch) -> Iterator[tuple[str, Trace, dict[str, Any]]]:
        """Yield key, trace and facts of each conversation; the first ones are drawn."""
        environments = self._users.begin(batch.first, batch.n)
        outputs = self._talkers[batch.agent].talk(environments)
        for environment, output in zip(environments, outputs, strict=True):
            sounds = self._voice.listen(output)
            trace = Trace.of(output, self._config.activity, sounds=sounds)
            labels, did = environment.labels(), did_of(environment)
            stem = _picture(self._config, batch.agent, environment.index)
            if stem is not None:
                _draw(stem, trace, environment, self._config)
            key = key_of(environment.index)
            yield key, trace, {_LABELS: labels.to_json(), _DID: dict(sorted(did.items()))}


def hold_talks(
    config: EvaluateConfig,
    users: ReactingUsers,
    agents: Sequence[str],
    *,
    workers: int,
    advance: Callable[[int], None],
) -> dict[str, TraceFile]:
    """Hold the conversations that no file has yet; `advance` gets numbers of conversations."""
    files = {
        name: TraceFile(Path(config.out) / "traces" / f"{name}.jsonl", _header(config, users, name))
        for name in agents
    }
    batches = tuple(_missing(config, users, files))
    advance(len(agents) * users.n - sum(batch.n for batch in batches))
    workers = min(workers, len(batches))
    task = TalkTask(config=config, users=users, batches=batches)
    executor = "processes" if workers > 1 else "serial"
    for report in run_tasks(task, range(len(batches)), workers=workers, executor=executor):
        agent = batches[report["batch"]].agent
        for key, trace, facts in report["talks"]:
            if key not in files[agent]:
                files[agent].add(key, {agent: trace}, facts=facts)
            advance(1)
    return files


def talks_of(
    agent: str, file: TraceFile, users: ReactingUsers, config: EvaluateConfig
) -> Iterator[tuple[ScoredDialogue, Counter[str]]]:
    """Read the conversations of an agent, ready to be scored, and what each user did."""
    for index in range(users.n):
        key = key_of(index)
        facts = file.facts(key)
        labels = DialogueLabels.from_json(facts[_LABELS], where=f"dialogue {key}")
        trace = file.traces(key)[agent]
        yield (
            ScoredDialogue(Dialogue.of(key, labels), trace, config.windows),
            Counter(facts[_DID]),
        )


def _missing(
    config: EvaluateConfig, users: ReactingUsers, files: Mapping[str, TraceFile]
) -> Iterator[TalkBatch]:
    """Batches with a conversation that was not held, or not drawn, yet."""
    for agent, file in files.items():
        for first in range(0, users.n, config.batch_size):
            indices = range(first, min(first + config.batch_size, users.n))
            stems = (_picture(config, agent, index) for index in indices)
            drawn = all(stem is None or stem.with_suffix(".wav").exists() for stem in stems)
            if not drawn or not all(key_of(index) in file for index in indices):
                yield TalkBatch(agent=agent, first=first, n=len(indices))


def _header(config: EvaluateConfig, users: ReactingUsers, agent: str) -> dict[str, Any]:
    """Inputs of the conversations of an agent: by content, and settings."""
    return {
        "agent": agent,
        "checkpoint": checkpoint_digest(config.checkpoint if agent == CHECKPOINT else ""),
        "users": users.digest,
        "n_dialogues": users.n,  # from whose plans voices and panel are made
        "seed": config.seed,
        "silence_ms": config.silence_ms,
        "activity": asdict(config.activity),
    }


def _picture(config: EvaluateConfig, agent: str, index: int) -> Path | None:
    """The stem of the picture of a conversation; None: it is not drawn."""
    if index >= config.n_pictures or agent in PANEL:
        return None
    return Path(config.out) / "pictures" / f"{agent}-{key_of(index)}"


def _draw(stem: Path, trace: Trace, environment: Environment, config: EvaluateConfig) -> None:
    scored = ScoredDialogue(dialogue_of(environment), trace, config.windows)
    agent, rate = environment.agent_audio(), environment.layout.sample_rate
    user = microphone_of(environment)
    make_folder(stem.parent)
    draw_dialogue(stem.with_suffix(".png"), scored, user=user, agent=agent, rate=rate)
    write_mix(stem.with_suffix(".wav"), user=user, agent=agent, rate=rate)
