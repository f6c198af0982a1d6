"""Playing sets: what is kept, what is played again, and what comes out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from microturn.evaluation import runner
from microturn.evaluation.agents.baselines import Agent, Oracle, Silent
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.records import DialogueInfo, read_records
from microturn.evaluation.report.gallery import one_of_each_family
from microturn.evaluation.runner import AgentSpec, PlayedSet, play_sets
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.suites.event_suites import score_events
from microturn.evaluation.suites.score_suite import SuiteScore
from microturn.evaluation.traces import FORMAT, TraceFile
from microturn.evaluation.validation import stream_and_score
from support.hand_made import HandMadeDialogue

HEADER = {"seed": 0}
SPEC = AgentSpec(
    checkpoint="",
    baselines=("oracle", "silent"),
    device="cpu",
    seed=0,
    batch_size=3,
)


@dataclass
class Counting:
    """The oracle, with a record of the batches it played, and a breaking point."""

    batches: list[list[str]] = field(default_factory=list)
    breaks_at: str = ""

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        self.batches.append([sample.key for sample in samples])
        for sample in samples:
            if sample.key == self.breaks_at:
                raise KeyboardInterrupt
            yield from Oracle().perform([sample])


@dataclass
class Run:
    """Plays the hand-made set to an agent that stands in for the oracle, and to `silent`."""

    monkeypatch: pytest.MonkeyPatch
    source: PlayedSet
    advanced_s: list[float] = field(default_factory=list)

    def __call__(self, path: Path, agent: Agent) -> dict[str, SuiteScore]:
        agents: dict[str, Agent] = {"oracle": agent, "silent": Silent()}
        self.monkeypatch.setattr(runner, "baseline", lambda name, *_, **__: agents[name])
        files = {self.source.name: TraceFile(path, HEADER)}
        self.advanced_s.clear()
        play_sets(
            [self.source],
            SPEC,
            files=files,
            activity=ActivityConfig(),
            workers=1,
            advance=self.advanced_s.append,
        )
        records = read_records(
            [],
            [self.source],
            files=files,
            agents=SPEC.agents,
            windows=WindowConfig(),
            transcripts={},
        )
        return score_events(records.agents["oracle"].all_outcomes, seed=0)


@pytest.fixture
def run(shard_set: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    dialogues = DialogueSet.open(str(shard_set))
    return Run(monkeypatch, PlayedSet.of("data", dialogues, n_dialogues=dialogues.count()))


def test_a_run_that_was_interrupted_resumes_to_the_same_scores(tmp_path: Path, run: Run) -> None:
    whole = run(tmp_path / "whole.jsonl", Counting())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part.jsonl", Counting(breaks_at="00000004"))
    with (tmp_path / "part.jsonl").open("a") as file:
        file.write('{"key": "0000')  # killed while it wrote
    agent = Counting()
    assert run(tmp_path / "part.jsonl", agent) == whole
    # Batches stay as they were, so the one that was broken off is played as a whole.
    assert agent.batches == [
        ["00000003", "00000004", "00000005"],
        ["00000006", "00000007"],
    ]
    first, *rest = run.advanced_s
    assert first == 3 * run.source.dialogue_s
    assert first + sum(rest) == run.source.total_s
    assert (tmp_path / "part.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


def test_a_finished_run_plays_nothing(tmp_path: Path, run: Run) -> None:
    first = run(tmp_path / "t.jsonl", Counting())
    agent = Counting()
    assert run(tmp_path / "t.jsonl", agent) == first
    assert agent.batches == []


def test_traces_of_other_inputs_are_not_mixed_in(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path / "t.jsonl", Counting())
    assert "00000001" in TraceFile(tmp_path / "t.jsonl", HEADER)
    assert "00000001" not in TraceFile(tmp_path / "t.jsonl", {"seed": 1})
    assert "belongs to other inputs: starting over" in capsys.readouterr().err


def test_a_file_of_something_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("no JSON at all\n")
    TraceFile(tmp_path / "t.jsonl", HEADER)
    assert json.loads((tmp_path / "t.jsonl").read_text()) == {"format": FORMAT, "seed": 0}


def test_pictures_prefer_families_that_are_not_shown_yet(run: Run) -> None:
    dialogues = [
        DialogueInfo(source=run.source, key=str(i), families=(name,))
        for i, name in enumerate(["turn", "turn", "timed_cue", "delegation"])
    ]
    assert [picture.key for picture in one_of_each_family(dialogues)] == ["0", "2", "3"]


def test_traces_survive_json(families: list[HandMadeDialogue]) -> None:
    for script in families:
        missing = np.arange(10) == 7
        trace = Trace.of(script.recorded(), ActivityConfig(), missing_input=missing)
        back = Trace.from_json(json.loads(json.dumps(trace.to_json())))
        assert back.missing_input == trace.missing_input == (7,)
        assert back.activity.runs == trace.activity.runs
        assert (back.words, back.delegates_s) == (trace.words, trace.delegates_s)
        assert (back.deliveries, back.heard) == (trace.deliveries, trace.heard)


def test_streaming_scores_and_draws_one_dialogue(
    tmp_path: Path, families: list[HandMadeDialogue]
) -> None:
    dialogues = [script.sample(f"{i:08d}") for i, script in enumerate(families)]
    scores = stream_and_score(Oracle(), dialogues, stem=tmp_path / "step10")
    assert scores["turn"].headline.value == 1.0
    assert {path.name for path in tmp_path.iterdir()} == {"step10.png", "step10.wav"}
