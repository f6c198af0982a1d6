"""`microturn evaluate change`: checkpoints before and after a training, with the same users."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from microturn.configs.load import ConfigError, load_config
from microturn.configs.main import main
from microturn.datagen.closed_loop.environment import Environment
from microturn.datagen.live import LiveSource
from microturn.evaluation.agents.talking import StreamedTalker
from microturn.evaluation.change.change import check_change
from microturn.evaluation.change.config import ChangeConfig
from microturn.evaluation.change.measured import Run, changes
from microturn.evaluation.change.table import state, table
from microturn.evaluation.config import TargetConfig
from microturn.evaluation.suites.registry import load_suite
from microturn.evaluation.suites.score_suite import score_suite
from microturn.evaluation.suites.several import over_runs, pooled
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint, save_checkpoint

USERS = "evaluation/suites/tau_voice.yaml rooms.n_rooms=2 rooms.method=tail n_micro_turns=40"


def dialogue(*, yields: list[bool], n_turns: int = 2) -> dict[str, Any]:
    """What tau-voice observes in a dialogue whose turns are all answered in 0.4 s."""

    def reactions(good: list[bool], latency_s: float | None) -> list[dict[str, Any]]:
        return [{"good": one, "latency_s": latency_s, "counts": True} for one in good]

    rows = {"yields": reactions(yields, None), "response": reactions([True] * n_turns, 0.4)}
    rows |= {name: [] for name in ("backchannel", "vocal_tic", "non_directed")}
    restraint = {"said": 3, "written": 4, "unasked_per_min": 0, "false_delegates_per_min": 0}
    return {**rows, "n_agent_interrupts": 0, "restraint": {**restraint, "minutes": 0.5}}


def run(*yields: bool) -> Run:
    return {"tau_voice": {f"{i:08d}": dialogue(yields=[one]) for i, one in enumerate(yields)}}


def config(**more: Any) -> ChangeConfig:
    targets = TargetConfig(at_least={"tau_voice": {"yield_rate": 0.7}})
    given: dict[str, Any] = {"before": ["a"], "after": ["b", "c"], "users": {"new_people": USERS}}
    return ChangeConfig(**{**given, "out": "x", "targets": targets, **more})


def test_runs_of_several_seeds_are_one_estimate_over_dialogues() -> None:
    """Six dialogues that are played twice tell less than twelve dialogues."""
    good = [True, True, False, True, True, False]
    twice = pooled([run(*good)["tau_voice"], run(*good)["tau_voice"]])
    suite = load_suite("tau_voice")
    score = score_suite(over_runs(suite), list(twice.values()), seed=0).metrics["yield_rate"]
    apart = score_suite(suite, list(run(*good, *good)["tau_voice"].values()), seed=0)
    assert score.value == pytest.approx(4 / 6)
    assert (score.n, score.n_dialogues) == (12, 6)
    assert score.ci95 is not None
    other = apart.metrics["yield_rate"].ci95
    assert other is not None
    assert score.ci95[0] < other[0] < other[1] < score.ci95[1]


def test_events_are_resampled_by_dialogue_too() -> None:
    rows = [{"suite": "turn", "metric": "right_word", "value": float(i % 2)} for i in range(8)]
    base = {"n": 1, "weight": 1.0, "median": False, "side": 0}
    one = {f"{i}": {"contributions": [{**base, **row}]} for i, row in enumerate(rows)}
    suite = load_suite("turn")
    once = score_suite(suite, list(one.values()), seed=0).metrics["right_word"]
    twice = score_suite(over_runs(suite), list(pooled([one, one]).values()), seed=0)
    assert once.value == twice.metrics["right_word"].value == 0.5
    assert twice.metrics["right_word"].n == 16


def test_goals_are_of_what_came_after_or_of_the_difference() -> None:
    asked = config(
        may_fall={"tau_voice": {"response_rate": 0.01}},
        may_rise={"tau_voice": {"response_latency_s": 0.1}},
        also=["tau_voice.selectivity_backchannel"],
        resamples=200,
    )
    some = [True, False, False, False, False, True, False, False]
    most = [True, True, False, True, True, True, True, True]
    found = changes(asked, [run(*some)], [run(*most), run(*[True] * 8)])
    by_name = {one.metric: one for one in found}
    assert list(by_name) == [metric for _, metric in asked.rows]
    yields = by_name["yield_rate"]
    assert (yields.before.value, yields.after.value) == (0.25, 15 / 16)
    assert (yields.each_before, yields.each_after) == ((0.25,), (7 / 8, 1.0))
    assert yields.difference == pytest.approx(15 / 16 - 0.25)
    assert yields.ci95 is not None
    assert yields.ci95[0] > 0
    assert state(yields) == "reached"
    assert by_name["response_rate"].goals[0].limit == -0.01
    assert state(by_name["response_rate"]) == "reached"
    assert state(by_name["selectivity_backchannel"]) == ""
    worse = changes(asked, [run(*[True] * 8)], [run(*some), run(*some)])[0]
    assert state(worse) == "missed"

    text = table(asked, {"new_people": found}, minutes=13.0)
    row = next(line for line in text.split("\n") if "yield_rate" in line)
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells[0] == "at least 70.0 %"
    assert cells[1].startswith("25.0 % [")
    assert "-> 93.8 % [" in cells[1]
    assert cells[1].endswith("n 16")
    assert cells[2:] == ["87.5 %, 100.0 %", "reached"]
    assert "at most 1.0 % lower" in text
    assert "at most 0.10 s higher" in text


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed in range(2):
        loaded = random_checkpoint(seed)
        save_checkpoint(folder / f"{seed}", loaded.model, loaded.tokenizer)
    return [str(folder / "0"), str(folder / "1")]


def test_the_command_writes_table_numbers_and_pictures(
    checkpoints: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, out = tmp_path / "page.md", tmp_path / "out"
    page.write_text("# Head\n<!-- change begin -->\n<!-- change end -->\nTail\n", encoding="utf-8")
    words = [f"before={checkpoints[0]}", f"after={checkpoints[1]}", f"out={out}", f"table={page}"]
    words += [f"users.new_people={USERS} cache={tmp_path}", "n_dialogues=2", "device=cpu"]
    words += ["also=tau_voice.response_rate", "resamples=100", "json=-"]
    assert main(["evaluate", "change", *words]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Head\n")
    assert text.endswith("Tail\n")
    assert "| `tau_voice.response_rate`: " in text
    result = json.loads((out / "change.json").read_text(encoding="utf-8"))
    row = result["users"]["new_people"]["changes"][0]
    assert row["metric"] == "response_rate"
    assert row["each_after"] == [row["after"]["value"]]
    pictures = {path.name for path in (out / "pictures").iterdir()}
    names = [f"new_people-{side}1-00000000" for side in ("before", "after")]
    assert pictures == {f"{name}.{kind}" for name in names for kind in ("png", "wav")}


def test_conversations_side_by_side_are_those_of_sessions(tmp_path: Path) -> None:
    """All at once, and one after the other: the same words said and heard, at the same times."""
    loaded = random_checkpoint(1)
    name = f"live:{USERS} cache={tmp_path}"
    source = replace(LiveSource.open(name), tokenizer_json=tokenizer_text(loaded, tmp_path))

    def talk(n_rows: int) -> list[tuple[Any, Any]]:
        environments = [Environment(source, index) for index in range(3)]
        outputs = StreamedTalker(RowBatch(loaded, n_rows, seed=2)).talk(environments)
        return [(one.say, output.heard) for one, output in zip(environments, outputs, strict=True)]

    together = talk(3)
    assert any(ids for say, _ in together for ids in say)
    assert together == talk(1)


def tokenizer_text(loaded: LoadedCheckpoint, folder: Path) -> str:
    path = folder / "tokenizer.json"
    loaded.tokenizer.save(path)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"before": ["a", "b", "c"]}, "before has 3 checkpoints and after 2"),
        ({"users": {}}, "users is empty"),
        ({"users": {"new people": USERS}}, "names a folder"),
        ({"targets": TargetConfig()}, "nothing to compare"),
    ],
)
def test_what_cannot_be_compared_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**words)


def test_metrics_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no metric tau_voice\.speed"):
        check_change(config(also=["tau_voice.speed"]))


def test_the_shipped_goals_exist() -> None:
    words = ["before=a", "after=b", "out=x"]
    files = ["evaluation/reinforced.yaml", "evaluation/reinforced_many.yaml"]
    shipped = load_config(ChangeConfig, files, words)
    check_change(shipped)
    assert len(shipped.users) == 3
