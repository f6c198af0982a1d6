"""The bench measures every row and says what scripts read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from microturn.configs.main import main


def test_bench_simulate_has_every_row_and_ratio(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lhotse")
    target = tmp_path / "bench.json"
    small = ["n_dialogues=1", "n_micro_turns=40", "rounds=1", "warm_up=1", "scaling_shards=2"]
    assert main(["bench", "simulate", *small, f"cache={tmp_path}", f"json={target}"]) == 0
    result = json.loads(target.read_text())
    assert set(result["seconds_per_cpu_second"]) == {
        *("ours_dry", "ours_reverb", "ours_everything", "floor_dry", "floor_reverb"),
        *("lhotse_dry", "lhotse_dry_our_level", "lhotse_reverb", "lhotse_reverb_our_level"),
        "lhotse_reverb_user",
    }
    assert all(value > 0 for value in result["seconds_per_cpu_second"].values())
    for name in ("reverb_vs_lhotse", "dry_vs_lhotse", "reverb_vs_floor", "two_vs_one"):
        assert result["ratios"][name] > 0
    shown = capsys.readouterr().out
    assert "lhotse, user's channel convolved, FLAC" in shown
    assert (tmp_path / "bench.config.yaml").is_file()


def test_without_the_peer_there_are_no_ratios_with_it(tmp_path: Path) -> None:
    target = tmp_path / "bench.json"
    small = [
        "n_dialogues=1",
        "n_micro_turns=40",
        "rounds=1",
        "warm_up=1",
        "peers=false",
        "scaling=false",
    ]
    assert main(["bench", "simulate", *small, f"cache={tmp_path}", f"json={target}"]) == 0
    ratios = json.loads(target.read_text())["ratios"]
    assert ratios["reverb_vs_lhotse"] is None
    assert ratios["two_vs_one"] is None
    assert ratios["reverb_vs_floor"] > 0
