"""`scores.json`: the scores of a run, for programs; `read_scores` gives them back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.configs.reading import naming_damage
from microturn.datagen.sets.contents import Shared
from microturn.evaluation.records import AgentRecord, Records
from microturn.evaluation.report.targets import TargetCheck
from microturn.evaluation.runner import SEED_MARK
from microturn.evaluation.suites.event_suites import score_events
from microturn.evaluation.suites.score_suite import SuiteScore, score_suite, with_seeds
from microturn.evaluation.suites.suite import Observations, Suite

FORMAT: Final = 3
NAME: Final = "scores.json"
EVALUATE_AGAIN: Final = "run `microturn evaluate` again"


@dataclass(frozen=True, kw_only=True)
class SetInfo:
    """One set of dialogues that was played."""

    sha256: str
    n_dialogues: int
    dialogue_s: float  # length of one dialogue
    seed: int | None
    shared: Shared | None = None  # with the checkpoint's training set; None: not recorded


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """Inputs and versions behind the scores."""

    data: str  # folder of the set; empty: every suite's own
    checkpoint: str
    checkpoint_sha256: str
    seed: int
    words: str
    through: str
    versions: Mapping[str, str]
    sets: Mapping[str, SetInfo]
    shared: Shared | None = None  # of all sets together

    @property
    def n_dialogues(self) -> int:
        return sum(played.n_dialogues for played in self.sets.values())

    @property
    def minutes(self) -> float:
        return sum(played.n_dialogues * played.dialogue_s for played in self.sets.values()) / 60


@dataclass(frozen=True, kw_only=True)
class AgentScores:
    """All scores of one agent."""

    suites: Mapping[str, SuiteScore]
    events: Mapping[str, SuiteScore]  # suites of events, on the dialogues of all sets together
    timing: Mapping[str, Any]  # scoring.timing.Timing as JSON


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of a run: of the scored agent first, then of the baselines."""

    info: RunInfo
    agents: Mapping[str, AgentScores]
    targets: tuple[TargetCheck, ...] = ()
    # Headlines of the adversarial panel by member and suite; empty where it did not play.
    panel: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)

    @property
    def agent(self) -> str:
        return next(iter(self.agents))

    @property
    def first(self) -> AgentScores:
        return self.agents[self.agent]

    @property
    def off_target(self) -> list[str]:
        return [str(check) for check in self.targets if check.missed]

    def only(self, names: Sequence[str]) -> Scores:
        """These scores with some of the suites."""
        agents = {
            agent: replace(one, suites={name: one.suites[name] for name in names})
            for agent, one in self.agents.items()
        }
        panel = {
            member: {name: values[name] for name in names} for member, values in self.panel.items()
        }
        return replace(self, agents=agents, panel=panel)

    def to_json(self) -> dict[str, Any]:
        """`suites.NAME.{headline,metrics,n,ci95}` is a contract."""
        suites = {agent: _suites_json(scores.suites) for agent, scores in self.agents.items()}
        return {
            "format": FORMAT,
            "agent": self.agent,
            **asdict(self.info),
            "n_dialogues": self.info.n_dialogues,
            "minutes": self.info.minutes,
            "suites": suites.pop(self.agent),
            "baselines": {agent: {"suites": entry} for agent, entry in suites.items()},
            "events": {agent: _suites_json(one.events) for agent, one in self.agents.items()},
            "timing": {agent: one.timing for agent, one in self.agents.items()},
            "panel": {member: dict(values) for member, values in self.panel.items()},
            "targets": [check.to_json() for check in self.targets],
            "off_target": self.off_target,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Scores:
        suites = {entry["agent"]: entry["suites"]}
        suites |= {agent: baseline["suites"] for agent, baseline in entry["baselines"].items()}
        return cls(
            info=_info(entry),
            agents={
                agent: AgentScores(
                    suites=_suites(own),
                    events=_suites(entry["events"][agent]),
                    timing=entry["timing"][agent],
                )
                for agent, own in suites.items()
            },
            targets=tuple(TargetCheck.from_json(target) for target in entry["targets"]),
            panel=entry["panel"],
        )


def score_run(info: RunInfo, records: Records, *, suites: Sequence[Suite]) -> Scores:
    """Scores of every agent on every suite, on the events of all dialogues, and its timing."""
    oracle = records.agents.get("oracle")
    agents = {}
    for agent, record in records.agents.items():
        reference = oracle.timing if oracle and agent != "oracle" else None
        events = score_events(record.all_outcomes, seed=info.seed)
        agents[agent] = AgentScores(
            suites={suite.name: _score(suite, record, events, info) for suite in suites},
            events=events,
            timing=record.timing.to_json(reference),
        )
    panel = {
        member: {suite.name: _headline(suite, record) for suite in suites}
        for member, record in records.panel.items()
    }
    return Scores(info=info, agents=agents, panel=panel)


def _headline(suite: Suite, record: AgentRecord) -> float | None:
    return suite.measure(list(record.of_suite(suite).values()))[suite.headline]


def _score(
    suite: Suite, record: AgentRecord, events: Mapping[str, SuiteScore], info: RunInfo
) -> SuiteScore:
    if suite.name in events and len(info.sets) == 1:  # the same dialogues: nothing to resample
        return replace(events[suite.name], set_name=suite.set_name, note=suite.title_note)
    observed = record.of_suite(suite)
    score = score_suite(suite, list(observed.values()), seed=info.seed)
    sets: dict[str, list[Observations]] = {}
    for key, observations in observed.items():
        sets.setdefault(key.partition(SEED_MARK)[2], []).append(observations)
    return with_seeds(score, suite, list(sets.values())) if len(sets) > 1 else score


def read_scores(folder: str | Path) -> Scores:
    """Scores of a result folder; ValueError for damaged ones and those of another version."""
    path = Path(folder) / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no {NAME}; give a folder of `microturn evaluate`")
    with naming_damage(path, EVALUATE_AGAIN):
        entry = dict(json.loads(path.read_text(encoding="utf-8")))
        if entry.get("format") != FORMAT:
            raise ValueError(
                f"{path} has format {entry.get('format')}, not {FORMAT}; {EVALUATE_AGAIN}"
            )
        return Scores.from_json(entry)


def write_scores(folder: Path, scores: Scores) -> None:
    text = json.dumps(scores.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(folder / NAME, text)


def with_events(suites: Mapping[str, SuiteScore]) -> Sequence[str]:
    """Names of suites whose dialogues have events; all names where none has."""
    return [name for name, score in suites.items() if score.has_events] or list(suites)


def _info(entry: Mapping[str, Any]) -> RunInfo:
    names = ("data", "checkpoint", "checkpoint_sha256", "seed", "words", "through", "versions")
    sets = {name: SetInfo(**played) for name, played in entry["sets"].items()}
    return RunInfo(**{name: entry[name] for name in names}, sets=sets, shared=entry.get("shared"))


def _suites_json(suites: Mapping[str, SuiteScore]) -> dict[str, Any]:
    return {name: score.to_json() for name, score in suites.items()}


def _suites(entry: Mapping[str, Any]) -> dict[str, SuiteScore]:
    return {name: SuiteScore.from_json(name, suite) for name, suite in entry.items()}
