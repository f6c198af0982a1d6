"""`microturn evaluate` on the sets of the suites: simulated, played by processes, scored."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from microturn.configs.main import main
from microturn.evaluation.config import EvaluateConfig
from microturn.evaluation.evaluate import check_socket
from microturn.evaluation.report import markdown
from microturn.evaluation.scoring.agent_output import Trace
from microturn.evaluation.scoring.dialogue_set import checkpoint_digest
from microturn.evaluation.suites.held_out import held_out_config
from microturn.evaluation.suites.registry import known_suites, load_suite
from microturn.evaluation.suites.score_suite import MetricScore, score_suite
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint, save_checkpoint
from microturn.model.streams import StreamLayout

SUITES = "suites=[turn,interruption]"


def evaluate(cache: Path, out: Path, *words: str) -> int:
    fixed = [f"cache={cache}", f"out={out}", "n_dialogues=4", "batch_size=2", SUITES]
    return main(["evaluate", *fixed, *words])


def read(out: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads((out / "scores.json").read_text())
    return scores


@pytest.mark.parametrize("name", known_suites())
def test_every_suite_is_whole(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite.asks
    assert suite.title_note
    assert all(suite.meanings.values())
    config = held_out_config(suite)
    assert config.split == "test"
    assert config.seed >= 9000  # nobody trains there
    nothing = suite.check(suite.measure([]))
    assert list(nothing) == list(suite.meanings)
    assert nothing[suite.headline] is None


def test_an_oracle_of_suites_is_the_same_by_any_number_of_processes(
    cache: Path, tmp_path: Path
) -> None:
    assert evaluate(cache, tmp_path / "one", "baseline=oracle", "workers=1") == 0
    assert evaluate(cache, tmp_path / "two", "baseline=oracle", "workers=2") == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    assert one["suites"] == two["suites"]
    assert one["timing"] == two["timing"]
    assert one["suites"]["turn"]["headline"] == 1.0
    assert one["sets"]["events"]["n_dialogues"] == 4
    names = ("scores.md", "scores.png", "scenarios.png", "latencies.png", "observations.jsonl")
    for name in names:
        assert (tmp_path / "one" / name).stat().st_size > 100
    assert "closed-domain twin" in (tmp_path / "one" / "scores.md").read_text()


def test_a_suite_is_played_on_sets_of_several_seeds(cache: Path, tmp_path: Path) -> None:
    words = ("baseline=half_duplex", "workers=1", "n_pictures=2")
    assert evaluate(cache, tmp_path / "one", *words) == 0
    assert evaluate(cache, tmp_path / "two", *words, "n_seeds=2") == 0
    one, two = read(tmp_path / "one"), read(tmp_path / "two")
    seeds = [played["seed"] for played in two["sets"].values()]
    assert list(two["sets"]) == ["events", f"events@{seeds[1]}"]
    assert two["sets"]["events"] == one["sets"]["events"]
    assert two["sets"][f"events@{seeds[1]}"]["sha256"] != one["sets"]["events"]["sha256"]
    before, after = (run["suites"]["turn"]["details"]["onset_recall"] for run in (one, two))
    assert after["by_seed"][0] == before["value"]
    assert after["n"] > before["n"]
    n_second = after["n"] - before["n"]
    parts = before["n"] * after["by_seed"][0] + n_second * after["by_seed"][1]
    assert after["value"] == pytest.approx(parts / after["n"])
    assert "by_seed" not in before
    assert two["suites"]["turn"]["n_dialogues"] == 8
    assert "each of the sets of a suite" in (tmp_path / "two" / "scores.md").read_text()
    assert len(list((tmp_path / "two" / "pictures").glob("*.png"))) == 2


def test_other_seeds_are_for_the_sets_of_suites(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(cache, tmp_path, "baseline=silent", f"data={tmp_path}", "n_seeds=2") == 2
    assert "n_seeds=2 is for the sets of the suites" in capsys.readouterr().err
    assert evaluate(cache, tmp_path, "baseline=silent", "loop=closed", "n_seeds=2") == 2
    assert "n_seeds=2 is for recorded dialogues" in capsys.readouterr().err


def test_a_run_that_was_killed_goes_on(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("baseline=half_duplex", "workers=1")
    assert evaluate(cache, tmp_path / "whole", *words) == 0
    traces = tmp_path / "part" / "traces"
    traces.mkdir(parents=True)
    text = (tmp_path / "whole" / "traces" / "events.jsonl").read_text()
    lines = text.splitlines(keepends=True)
    (traces / "events.jsonl").write_text("".join(lines[:3]) + lines[3][:40])
    assert evaluate(cache, tmp_path / "part", *words) == 0
    assert "starting over" not in capsys.readouterr().err
    assert (traces / "events.jsonl").read_text() == text
    assert read(tmp_path / "part")["suites"] == read(tmp_path / "whole")["suites"]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    loaded = random_checkpoint()
    folder = tmp_path_factory.mktemp("checkpoint")
    save_checkpoint(folder, loaded.model, loaded.tokenizer)
    return folder


def test_a_checkpoint_stands_beside_every_baseline(
    cache: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{markdown.BEGIN}\nold\n{markdown.END}\nafter\n")
    out = tmp_path / "out"
    words = (f"checkpoint={checkpoint}", "workers=1", "n_pictures=2", "device=cpu", "words=audio")
    assert evaluate(cache, out, *words, f"table={page}") == 0
    scores = read(out)
    assert scores["agent"] == "checkpoint"
    names = ["checkpoint", "oracle", "half_duplex", "endpointing", "always", "silent"]
    assert [name for name in scores["timing"] if name in names] == names
    assert "checkpoint, words from its sound" in scores["baselines"]
    pictures = out / "pictures"
    assert len(list(pictures.glob("*.png"))) == len(list(pictures.glob("*.wav"))) == 2
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| turn | credit |" in text
    capsys.readouterr()
    assert main(["compare", str(out), str(out), "json=-"]) == 0
    found = json.loads(capsys.readouterr().out)["differences"]
    assert found
    assert not any(row["significant"] for row in found)


@pytest.mark.slow
def test_the_same_is_heard_through_the_socket(
    cache: Path, checkpoint: Path, tmp_path: Path
) -> None:
    words = (f"checkpoint={checkpoint}", "device=cpu", "baselines=false", "n_dialogues=1")
    words = (*words, "workers=1", "n_pictures=0")
    traces = []
    for through in ("engine", "server"):
        out = tmp_path / through
        assert evaluate(cache, out, *words, f"through={through}") == 0
        line = (out / "traces" / "events.jsonl").read_text().splitlines()[1]
        traces.append(Trace.from_json(json.loads(line)["agents"]["checkpoint"]))
    engine, server = traces
    # The server gives out what never ends in pieces; a word begins where it does in the engine.
    assert server.words[0].start_s == pytest.approx(engine.words[0].start_s)
    # The wire carries 16 bits, so a frame at the threshold may fall on its other side.
    assert np.count_nonzero(engine.activity.frames != server.activity.frames) <= 8


def test_pictures_that_the_socket_does_not_carry_are_refused(
    cache: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = random_checkpoint(layout=replace(TINY_LAYOUT, video_rows=1, video_cols=1))
    save_checkpoint(tmp_path / "seeing", loaded.model, loaded.tokenizer)
    words = ["through=server", "suites=[turn,charades]"]
    out = tmp_path / "out"
    assert evaluate(cache, out, f"checkpoint={tmp_path / 'seeing'}", *words) == 2
    message = "through=server sends sound only, but suite charades has video, which"
    assert message in capsys.readouterr().err
    assert not out.exists()
    config = EvaluateConfig(checkpoint=str(checkpoint), out=str(out), through="server")
    seen = held_out_config(load_suite("charades")).layout
    check_socket(config, TINY_LAYOUT, lanes_of=seen, name="charades")  # blind in either way


def test_few_dialogues_have_no_interval() -> None:
    suite = load_suite("turn")
    lone = {"contributions": [{"suite": "turn", "metric": "credit", "value": 1.0}]}
    assert score_suite(suite, [lone], seed=0).headline.ci95 is None
    scores = score_suite(suite, [lone] * 8, seed=0)
    ci95 = (pytest.approx(0.6756, abs=1e-4), 1.0)  # eight of eight
    assert scores.headline == MetricScore(value=1.0, ci95=ci95, n=8, n_dialogues=8)
    assert scores.metrics["turn_latency_s"] == MetricScore(
        value=None, ci95=None, n=0, n_dialogues=8
    )


def test_a_suite_that_counts_no_events_counts_dialogues() -> None:
    scores = score_suite(load_suite("silence"), [], seed=0)
    assert (scores.headline.n, scores.headline.n_dialogues) == (0, 0)


def test_a_target_needs_no_report_of_its_suite(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("baseline=silent", "workers=1", "targets.at_least.delegation.result_spoken=1")
    assert evaluate(cache, tmp_path, *words, "n_pictures=0") == 1
    assert "off target: delegation.result_spoken: 0.000" in capsys.readouterr().out
    assert list(read(tmp_path)["suites"]) == ["turn", "interruption"]


def test_pages_without_marks_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(markdown.END + markdown.BEGIN)
    with pytest.raises(ValueError, match="needs one line <!-- scores begin -->"):
        markdown.put_into(page, "x")


def test_a_checkpoint_is_known_by_its_content(checkpoint: Path, tmp_path: Path) -> None:
    digest = checkpoint_digest(str(checkpoint))
    (tmp_path / "layout.json").write_bytes((checkpoint / "layout.json").read_bytes())
    assert digest != checkpoint_digest(str(tmp_path))
    assert checkpoint_digest("") == ""


def test_pictures_are_as_the_checkpoint_sees_them() -> None:
    suite = load_suite("rep_count")
    own = held_out_config(suite)
    blind = StreamLayout(say_positions=1)
    assert held_out_config(suite, layout=blind).layout == own.layout
    seeing = StreamLayout(video_rows=1, video_cols=3)
    assert held_out_config(suite, layout=seeing).layout.video_cols == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suites=turns"], "suites has 'turns'; there are fdb_v1,"),
        (["targets.at_least.turns.right_word=1"], "targets.at_least.turns: no such suite; there"),
        (["workers=-1"], "workers=-1 must not be negative"),
    ],
)
def test_wrong_usage_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["evaluate", "baseline=oracle", f"out={tmp_path / 'out'}", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
