import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.main import main
from microturn.evaluation.bench.session_peers import PEERS, Peer, PeerTimes, without_session
from microturn.inference.micro_turn import MicroTurnIn
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import LoadedCheckpoint, random_checkpoint, save_checkpoint
from microturn.model.vocoders.config import VocoderConfig

ROWS = ["sessions=[1,2]", "micro_turns=4", "warm_up=1"]
QUICK = [*ROWS, "hour=0", "lengths=[]"]


@pytest.fixture(scope="module")
def quick_checkpoint() -> LoadedCheckpoint:
    """Without the rounds of Griffin-Lim."""
    vocoder = VocoderConfig(kind="istft", width=16, layers=1)
    return random_checkpoint(3, config=replace(random_checkpoint().model.cfg, vocoder=vocoder))


@pytest.fixture(scope="module")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, checkpoint = tmp_path_factory.mktemp("checkpoint"), random_checkpoint(0)
    save_checkpoint(folder, checkpoint.model, checkpoint.tokenizer)
    return folder


def test_an_hour_and_the_peers_are_in_the_result(
    quick_checkpoint: LoadedCheckpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "c", quick_checkpoint.model, quick_checkpoint.tokenizer)
    target = tmp_path / "bench.json"
    words = [*ROWS, "hour=200", "lengths=[4,8,40]", "peer_s=0"]
    assert main(["bench", "session", *words, f"json={target}", f"checkpoint={tmp_path / 'c'}"]) == 0
    result = json.loads(target.read_text())
    hour = result["hour"]
    assert hour["micro_turns"] == 200
    assert hour["last_over_first"] == pytest.approx(hour["last_ms"] / hour["first_ms"])
    assert hour["last_over_young"] == pytest.approx(hour["last_ms"] / hour["young_ms"])
    assert abs(hour["rss_growth"]) < 0.1
    for peer in PEERS:
        assert list(result["peers"][peer]) == ["4", "8", "40"]
        assert set(result["ratios"][peer]) == {"4", "8", "40", "hour_extrapolated"}
    shown = capsys.readouterr().out
    assert "200 micro-turns of one: first hundred" in shown
    assert "extrapolated from the longest lengths measured" in shown


@pytest.mark.parametrize("peer", PEERS)
def test_a_peer_says_what_we_say_while_the_window_reaches(
    quick_checkpoint: LoadedCheckpoint, peer: Peer
) -> None:
    """So the comparison is one of the same model."""
    ours, theirs = RowBatch(quick_checkpoint, 1), without_session(quick_checkpoint, peer)
    rng = np.random.default_rng(0)
    for _ in range(quick_checkpoint.model.cfg.window - 1):
        inputs = {0: MicroTurnIn(audio=(0.1 * rng.standard_normal(3_200)).astype(np.float32))}
        a, b = ours.step_rows(inputs)[0], theirs.step_rows(inputs)[0]
        assert (a.heard, a.say) == (b.heard, b.say)
        np.testing.assert_allclose(a.audio, b.audio, atol=1e-4)


def test_an_hour_is_extrapolated_by_how_the_work_grows() -> None:
    squares = PeerTimes({n: 3.0 + 2.0 * n + 0.5 * n * n for n in (10, 20, 80, 300)})
    assert squares.at(18_000, 2) == pytest.approx(3.0 + 2.0 * 18_000 + 0.5 * 18_000**2)
    line = PeerTimes({10: 50.0, 100: 8.0, 300: 10.0})  # the shortest ones are other costs
    assert line.at(1_300, 1) == pytest.approx(20.0)


def test_bench_session_writes_a_row_for_each_number_of_sessions(
    checkpoint_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "bench.json"
    words = [*QUICK, f"json={target}", f"checkpoint={checkpoint_folder}"]
    assert main(["bench", "session", *words]) == 0
    assert "p99 ms" in capsys.readouterr().out
    rows = json.loads(target.read_text())["sessions"]
    assert list(rows) == ["1", "2"]
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["max_ms"]


def test_json_to_stdout_is_nothing_but_json(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "session", *QUICK, "json=-", f"checkpoint={checkpoint_folder}"]) == 0
    assert "1" in json.loads(capsys.readouterr().out)["sessions"]


def test_a_limit_that_is_not_kept_is_exit_code_1(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*QUICK, "limit_ms=0.0001", f"checkpoint={checkpoint_folder}"]
    assert main(["bench", "session", *words]) == 1
    assert "above limit_ms=0.0001" in capsys.readouterr().err


def test_a_tiny_micro_turn_fits_its_budget() -> None:
    """A guard against gross regressions; `bench session` measures the promised 60 ms."""
    words = ["sessions=[1]", "micro_turns=30", "warm_up=5", "hour=0", "lengths=[]"]
    words.append("limit_ms=1000")  # a busy machine is no regression
    assert main(["bench", "session", *words]) == 0


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("sessions=[0]", "sessions=[0] must be counts of at least 1"),
        ("hour=150", "hour=150 must be 0 or at least 200"),
        ("lengths=[0,5]", "lengths=[0, 5] must be micro-turns, at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    word: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "session", word]) == 2
    assert sentence in capsys.readouterr().err
