"""Mixes are measured side by side, and their start on corpora that nobody opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.evaluation.bench.mixes import bench

SMALL = "n_micro_turns: 40\nrooms: {n_rooms: 2, method: tail}\n"


@pytest.fixture
def mixes(tmp_path: Path) -> str:
    (tmp_path / "reading.yaml").write_text(f"{SMALL}only: [read_aloud]\nvoices: {{agent: any}}\n")
    (tmp_path / "asking.yaml").write_text(f"{SMALL}only: [turn]\n")
    return f"mixes=[{tmp_path / 'reading.yaml'},{tmp_path / 'asking.yaml'}]"


def test_every_mix_has_its_figures_and_a_missed_goal_is_an_exit_code(
    mixes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "mixes.json"
    small = ["n_dialogues=1", "rounds=1", "warm_rounds=1", f"cache={tmp_path}", f"json={out}"]
    monkeypatch.setattr(bench, "GOALS", {("reading", "asking"): 1e9})
    assert main(["bench", "mixes", mixes, *small]) == 1
    result = json.loads(out.read_text())
    assert list(result["mixes"]) == ["reading", "asking"]
    for figures in result["mixes"].values():
        assert 0 < figures["corpus_s"] < figures["cold_start_s"]
        rate, seconds = figures["dialogues_per_cpu_second"], figures["seconds_per_cpu_second"]
        assert figures["seconds_per_dialogue"] == 8.0
        assert seconds == pytest.approx(8.0 * rate, rel=0.01)
        assert figures["first_dialogues_per_cpu_second"] > 0
    # Both mixes are of one corpus, which is decoded once.
    assert result["mixes"]["reading"]["decoding_s"] > result["mixes"]["asking"]["decoding_s"]
    assert not result["reached"]
    reading, asking = (mix["dialogues_per_cpu_second"] for mix in result["mixes"].values())
    assert result["ratios"]["reading_vs_asking"] == pytest.approx(reading / asking, rel=0.02)
    assert "(goal 1e+09), not decoded" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ("mixes=[nowhere.yaml]", 2, "mixes has 'nowhere.yaml', which is no file"),
        ("mixes=[a/open.yaml,b/open.yaml]", 2, "must be files of different names"),
        ("mixes=[]", 2, "must be files of different names"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    words: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "mixes", words]) == code
    assert message in capsys.readouterr().err
