"""`microturn evaluate loop=closed`: agents talk with users who react, and are scored as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.load import ConfigError
from microturn.configs.main import main
from microturn.configs.reading import lines_of
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.live import LiveSource
from microturn.evaluation.agents.assistants import (
    EndpointingTalker,
    HalfDuplexTalker,
    longest_line,
)
from microturn.evaluation.agents.closed_loop import play, scored
from microturn.evaluation.agents.performance import RecordedWords
from microturn.evaluation.agents.talking import dialogue_of, microphone_of
from microturn.evaluation.closed_loop import talks
from microturn.evaluation.closed_loop.closed_loop import check
from microturn.evaluation.closed_loop.users import ReactingUsers
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.scoring.events import score
from microturn.evaluation.scoring.outcomes import ResumeOutcome, TurnOutcome
from microturn.model.checkpoint import random_checkpoint, save_checkpoint

KEYS = "rooms.n_rooms=2 rooms.method=tail"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def evaluate(out: Path, cache: Path, *words: str) -> dict[str, Any]:
    data = f"data=evaluation/suites/tau_voice.yaml {KEYS} n_micro_turns=60"
    fixed = [data, f"out={out}", "loop=closed", "n_dialogues=3", f"cache={cache}", "workers=1"]
    assert main(["evaluate", *fixed, *words]) == 0
    scores: dict[str, Any] = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    return scores


@pytest.fixture(scope="module")
def users(cache: Path) -> ReactingUsers:
    asks = "timing.reactions.ask_again_share=1"  # whoever gets no answer asks again
    name = f"live:evaluation/suites/tau_voice.yaml {KEYS} {asks} n_micro_turns=60 cache={cache}"
    return ReactingUsers(source=LiveSource.open(name), n=3)


def test_the_oracle_has_full_credit(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "one"
    scores = evaluate(folder, cache, "baseline=oracle", "n_pictures=1")
    assert scores["suites"]["tau_voice"]["metrics"]["response_rate"] == 1.0
    assert scores["suites"]["overall"]["headline"] == 1.0
    assert {path.suffix for path in (folder / "pictures").iterdir()} == {".png", ".wav"}
    assert json.loads((folder / "users.json").read_text()) == {"oracle": {}}
    assert "## What the users did" in (folder / "scores.md").read_text(encoding="utf-8")


def test_a_checkpoint_stands_beside_the_baselines_whatever_the_batch_and_the_processes(
    cache: Path, tmp_path: Path
) -> None:
    loaded = random_checkpoint()
    save_checkpoint(tmp_path / "checkpoint", loaded.model, loaded.tokenizer)
    words = (f"checkpoint={tmp_path / 'checkpoint'}", "n_pictures=0", "device=cpu")
    scores = evaluate(tmp_path / "both", cache, *words, "batch_size=3", "workers=2")
    assert list(scores["timing"]) == [
        *("checkpoint", "oracle", "half_duplex", "endpointing", "always", "silent")
    ]
    silent = scores["baselines"]["silent"]["suites"]["tau_voice"]["metrics"]
    assert silent["response_rate"] == 0.0
    assert silent["yield_rate"] is None
    always = scores["baselines"]["always"]["suites"]["tau_voice"]["metrics"]
    assert always["yield_rate"] == 0.0
    did = json.loads((tmp_path / "both" / "users.json").read_text())
    assert did["silent"]["never"] + did["silent"]["gave_up"] > 0
    alone = evaluate(tmp_path / "alone", cache, *words, "batch_size=1", "baselines=false")
    assert alone["suites"]["tau_voice"]["metrics"] == scores["suites"]["tau_voice"]["metrics"]
    held = [(tmp_path / name / "traces" / "checkpoint.jsonl") for name in ("both", "alone")]
    assert held[0].read_bytes() == held[1].read_bytes()


def test_a_run_that_was_killed_goes_on_where_it_was(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("baseline=silent", "batch_size=1", "n_pictures=1")
    whole = evaluate(tmp_path, cache, *words)
    traces = tmp_path / "traces" / "silent.jsonl"
    bytes_before = traces.read_bytes()
    header, first, second, _ = lines_of(traces.read_text(encoding="utf-8"))
    traces.write_text(f"{header}\n{first}\n{second[:80]}", encoding="utf-8")
    begun = []
    hold = talks._Conversations.hold

    def counted(self: Any, batch: talks.TalkBatch) -> Any:
        begun.append(batch.first)
        return hold(self, batch)

    monkeypatch.setattr(talks._Conversations, "hold", counted)
    assert evaluate(tmp_path, cache, *words) == whole
    assert begun == [1, 2]
    assert traces.read_bytes() == bytes_before
    (tmp_path / "pictures" / "silent-00000000.wav").unlink()
    assert evaluate(tmp_path, cache, *words) == whole
    assert begun == [1, 2, 0], "a picture that is missing is drawn again"
    evaluate(tmp_path, cache, *words, "silence_ms=400")
    assert begun == [1, 2, 0, 0, 1, 2], "other settings start over"


def test_half_duplex_answers_what_it_heard_and_says_it(users: ReactingUsers) -> None:
    voice = RecordedWords.of(lambda: iter(users.planned))
    talker = HalfDuplexTalker(voice=voice, silence_s=0.5)
    environments = users.begin()
    outputs = list(talker.talk(environments))
    n_right = 0
    for environment, output in zip(environments, outputs, strict=True):
        said = [(word.text, word.start_s) for word in output.words]
        for event in dialogue_of(environment).events:
            if event.act == "respond":
                after = [text for text, start_s in said if start_s > event.end_s]
                n_right += tuple(after[: len(event.expected)]) == event.expected
    assert n_right >= 2


def test_endpointing_answers_every_silence_and_stops_at_every_sound(users: ReactingUsers) -> None:
    voice = RecordedWords.of(lambda: iter(users.planned))
    line = longest_line((one.dialogue for one in users.planned), voice)
    talker = EndpointingTalker(voice=voice, line=line, silence_s=0.5)
    environments = users.begin()
    said = [[word.text for word in output.words] for output in talker.talk(environments)]
    assert said[0][: len(line)] == list(line), "nothing is asked, but somebody coughs"
    outcomes = [one for each in environments for one in score(scored(each.episode(), users.source))]
    turns = [one for one in outcomes if isinstance(one, TurnOutcome)]
    assert len(turns) >= 2
    assert all(one.right for one in turns)
    goes_on = [one for one in outcomes if isinstance(one, ResumeOutcome) and one.speaking]
    assert goes_on
    assert not any(one.went_on for one in goes_on), "a backchannel breaks it off"
    assert said[1].count("seven") >= 2, "and it begins anew with the word that was broken off"


def test_what_the_microphone_heard_can_be_heard_again(users: ReactingUsers) -> None:
    environment = Environment(users.source, 0)
    turns, heard = iter(environment.recorded()), []

    def answer(observed: Any) -> Any:
        heard.append(observed.audio)
        return next(turns)

    play(environment, answer)
    again = microphone_of(environment)
    block = environment.layout.samples_per_micro_turn
    for k, audio in enumerate(heard):
        assert (again[k * block : (k + 1) * block] == audio).all()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"data": ""}, "needs data=FILE.yaml"),
        ({"baseline": ""}, "give either checkpoint"),
        ({"through": "server"}, "through=server has no closed loop"),
        ({"suites": ["fdb_v1"]}, "suites has 'fdb_v1'"),
    ],
)
def test_what_cannot_be_played_is_refused(words: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"out": "x", "data": "demo.yaml", "baseline": "silent"}
    config = EvaluateConfig(loop="closed", **{**given, **words})
    with pytest.raises(ConfigError, match=message):
        check(config)
