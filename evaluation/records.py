"""Observations of every suite, read from the traces of every dialogue and agent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from microturn.evaluation.config import WindowConfig
from microturn.evaluation.runner import CHECKPOINT, PlayedSet
from microturn.evaluation.scoring.agent_output import HeardWord, Trace
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import Outcome
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.scoring.timing import Timing, add_dialogue
from microturn.evaluation.suites.event_suites import event_metrics
from microturn.evaluation.suites.registry import WITH_MODULE
from microturn.evaluation.suites.suite import Observations, Suite
from microturn.evaluation.traces import TraceFile

FROM_AUDIO: Final = "checkpoint, words from its sound"


@dataclass(kw_only=True)
class AgentRecord:
    """Observations and outcomes of one agent in all dialogues."""

    observations: dict[str, dict[str, Observations]]  # of suites with a module, by dialogue
    outcomes: dict[str, dict[str, list[Outcome]]]  # of events, by name of the set and dialogue
    timing: Timing = field(default_factory=Timing)

    def add(
        self, set_name: str, key: str, scored: ScoredDialogue, *, suites: Sequence[Suite]
    ) -> None:
        """Observe a dialogue for the suites with a module that play its set, and its events."""
        for suite in suites:
            self.observations[suite.name][key] = suite.observe(scored)
        self.outcomes[set_name][key] = score(scored)
        add_dialogue(self.timing, scored)

    @property
    def all_outcomes(self) -> list[list[Outcome]]:
        """Outcomes of the dialogues of all sets."""
        return [one for dialogues in self.outcomes.values() for one in dialogues.values()]

    def of_suite(self, suite: Suite) -> dict[str, Observations]:
        """Observations by dialogue of the suite's set."""
        if suite.name in self.observations:
            return self.observations[suite.name]
        metrics = event_metrics()[suite.name]
        dialogues = self.outcomes[suite.set_name]
        return {key: metrics.observation(outcomes) for key, outcomes in dialogues.items()}


@dataclass(frozen=True, kw_only=True)
class DialogueInfo:
    """One dialogue that was played."""

    source: PlayedSet
    key: str
    families: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Records:
    """The records of all agents, and the dialogues behind them."""

    dialogues: tuple[DialogueInfo, ...]
    agents: Mapping[str, AgentRecord]
    panel: Mapping[str, AgentRecord] = field(default_factory=dict)  # of agents that must not score


def read_records(
    suites: Sequence[Suite],
    sets: Sequence[PlayedSet],
    *,
    files: Mapping[str, TraceFile],
    agents: Sequence[str],
    panel: Sequence[str] = (),
    windows: WindowConfig,
    transcripts: Mapping[str, Mapping[str, Sequence[str]]],
) -> Records:
    """Observe every dialogue as every agent played it; `suites` may hold some of events.

    `transcripts` has a recogniser's words by set and dialogue, of the sets that it heard.
    """
    suites = [suite for suite in suites if suite.name in WITH_MODULE]
    records = {
        agent: AgentRecord(
            observations={suite.name: {} for suite in suites},
            outcomes={source.plays: {} for source in sets},
        )
        for agent in (*agents, *panel)
    }
    dialogues: list[DialogueInfo] = []
    for source in sets:
        own = [suite for suite in suites if suite.set_name == source.plays]
        for held_out in source.open().read(source.n_dialogues):
            dialogue = held_out.dialogue
            if source.name in transcripts:
                words = transcripts[source.name][dialogue.key]
                dialogue = replace(dialogue, recognised=tuple(words))
            dialogues.append(
                DialogueInfo(source=source, key=dialogue.key, families=dialogue.families)
            )
            traces = files[source.name].traces(dialogue.key)
            key = source.key_among_all(dialogue.key)
            for agent, trace in _traces_of((*agents, *panel), traces):
                scored = ScoredDialogue(dialogue, trace, windows)
                records[agent].add(source.plays, key, scored, suites=own)
    return Records(
        dialogues=tuple(dialogues),
        agents={agent: records[agent] for agent in agents},
        panel={member: records[member] for member in panel},
    )


def _traces_of(agents: Sequence[str], traces: Mapping[str, Trace]) -> Iterator[tuple[str, Trace]]:
    for agent in agents:
        if agent == FROM_AUDIO:
            trace = traces[CHECKPOINT]
            yield agent, replace(trace, words=trace.recognised or (), sounds=_as_heard(trace))
        else:
            yield agent, traces[agent]


def _as_heard(trace: Trace) -> tuple[HeardWord, ...]:
    """Take what was recognised for what the sound says; the rest of it stays without a word."""
    words = trace.recognised or ()
    heard = [HeardWord(text=w.text, start_s=w.start_s, end_s=w.end_s) for w in words]
    rest = [
        replace(sound, text="")
        for sound in trace.sounds or ()
        if not any(w.start_s < sound.end_s and sound.start_s < w.end_s for w in words)
    ]
    return (*heard, *rest)
