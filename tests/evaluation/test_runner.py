"""Playing a set: what is remembered, what is played again, and what comes out."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from microturn.evaluation.agents.baselines import Oracle, Silent
from microturn.evaluation.agents.validation_scores import listen
from microturn.evaluation.config import ActivityConfig, WindowConfig
from microturn.evaluation.report.pictures import Gallery
from microturn.evaluation.runner import FORMAT, TraceFile, play, score_traces
from microturn.evaluation.scoring.agent_output import AgentOutput, Trace
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites import event_metrics as suites

HEADER = {"seed": 0}


@dataclass
class Counting:
    """The oracle, with a record of what it was asked to play, and a breaking point."""

    batches: list[list[str]] = field(default_factory=list)
    breaks_at: str = ""

    def perform(self, samples: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        self.batches.append([sample.key for sample in samples])
        for sample in samples:
            if sample.key == self.breaks_at:
                raise KeyboardInterrupt
            yield from Oracle().perform([sample])


def samples_of(families: list[Any]) -> list[HeldOutDialogue]:
    return [script.sample(f"{i:08d}") for i, script in enumerate([*families, *families])]


def run(path: Path, samples: list[HeldOutDialogue], agent: Any, **more: Any) -> dict[str, Any]:
    file = TraceFile(path, HEADER)
    options = {"activity": ActivityConfig(), "batch_size": 3, **more}
    dialogues = play(samples, {"a": agent, "silent": Silent()}, file, **options)
    results = score_traces(dialogues, file, ["a", "silent"], WindowConfig())
    return suites.to_json(suites.aggregate(results["a"], seed=0))


def test_a_run_that_was_interrupted_goes_on_to_the_same_scores(
    tmp_path: Path, families: list[Any]
) -> None:
    samples = samples_of(families)
    whole = run(tmp_path / "whole.jsonl", samples, Counting())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part.jsonl", samples, Counting(breaks_at="00000004"))
    with (tmp_path / "part.jsonl").open("a") as file:
        file.write('{"key": "0000')  # killed while it wrote
    agent = Counting()
    known: list[int] = []
    again = run(tmp_path / "part.jsonl", samples, agent, on_known=lambda: known.append(1))
    assert again == whole
    # Batches stay as they were, so the one that was broken off is played as a whole.
    assert agent.batches == [
        ["00000003", "00000004", "00000005"],
        ["00000006", "00000007"],
    ]
    assert len(known) == 3
    assert (tmp_path / "part.jsonl").read_text() == (tmp_path / "whole.jsonl").read_text()


def test_a_finished_run_plays_nothing(tmp_path: Path, families: list[Any]) -> None:
    samples = samples_of(families)
    first = run(tmp_path / "t.jsonl", samples, Counting())
    agent = Counting()
    assert run(tmp_path / "t.jsonl", samples, agent) == first
    assert agent.batches == []


def test_traces_of_other_inputs_are_not_mixed_in(
    tmp_path: Path, families: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    samples = samples_of(families)[:2]
    run(tmp_path / "t.jsonl", samples, Counting())
    assert "00000001" in TraceFile(tmp_path / "t.jsonl", HEADER)
    assert "00000001" not in TraceFile(tmp_path / "t.jsonl", {"seed": 1})
    assert "belongs to other inputs: starting over" in capsys.readouterr().err


def test_a_file_of_something_else_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("no JSON at all\n")
    TraceFile(tmp_path / "t.jsonl", HEADER)
    assert json.loads((tmp_path / "t.jsonl").read_text()) == {"format": FORMAT, "seed": 0}


def test_a_missing_picture_is_drawn_again(tmp_path: Path, families: list[Any]) -> None:
    samples = samples_of(families)[:4]

    def play_and_draw(agent: Counting) -> None:
        gallery = Gallery(tmp_path / "pictures", 2)

        def on_played(sample: HeldOutDialogue, played: Any) -> None:
            trace = Trace.of(played["a"], ActivityConfig())
            gallery.add(
                sample, ScoredDialogue(sample.dialogue, trace, WindowConfig()), played["a"].audio
            )

        run(tmp_path / "t.jsonl", samples, agent, again=gallery.missing, on_played=on_played)

    named = zip(samples, ("turn", "interruption", "turn", "delegation"), strict=True)
    samples = [
        replace(sample, dialogue=replace(sample.dialogue, families=(name,)))
        for sample, name in named
    ]
    play_and_draw(Counting())
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"00000000.png", "00000000.wav", "00000001.png", "00000001.wav"}
    (tmp_path / "pictures" / "00000001.wav").unlink()
    agent = Counting()
    play_and_draw(agent)
    assert agent.batches == [["00000000", "00000001", "00000002"]]
    assert (tmp_path / "pictures" / "00000001.wav").stat().st_size > 0


def test_a_gallery_prefers_families_that_it_has_not_shown(script: Any) -> None:
    gallery = Gallery(Path("nowhere"), 2)
    shown = [
        gallery.wants(
            replace(
                script.sample(str(i)), dialogue=replace(script.dialogue(str(i)), families=(name,))
            )
        )
        for i, name in enumerate(["turn", "turn", "timed_cue", "delegation"])
    ]
    assert shown == [True, False, True, False]


def test_traces_survive_json(families: list[Any]) -> None:
    for script in families:
        trace = Trace.of(script.recorded(), ActivityConfig())
        back = Trace.from_json(json.loads(json.dumps(trace.to_json())))
        assert back.activity.runs == trace.activity.runs
        assert (back.words, back.delegates_s) == (trace.words, trace.delegates_s)
        assert (back.deliveries, back.heard) == (trace.deliveries, trace.heard)


def test_listening_scores_and_keeps_one_dialogue(tmp_path: Path, families: list[Any]) -> None:
    scores = listen(Oracle(), samples_of(families), tmp_path, "step10")
    assert scores["turn"]["headline"] == 1.0
    assert {path.name for path in tmp_path.iterdir()} == {"step10.png", "step10.wav"}
