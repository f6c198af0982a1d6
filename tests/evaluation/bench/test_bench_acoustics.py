import json
from pathlib import Path

import pytest

from microturn.configs.main import main
from microturn.evaluation.bench.acoustics import ALWAYS


@pytest.mark.slow  # fills a bank of rooms
def test_bench_acoustics_times_every_effect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "acoustics.json"
    words = ["n_dialogues=1", "rounds=1", "n_micro_turns=60", f"json={target}"]
    assert main(["bench", "acoustics", *words]) == 0
    result = json.loads(target.read_text())
    assert len(result["render_ms"]) == len(ALWAYS) + 4
    assert min(result["render_ms"].values()) > 0
    assert len(result["room_ms"]) == 3
    assert "rendering 12 s, both channels" in capsys.readouterr().out


def test_counts_are_at_least_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "acoustics", "rounds=0"]) == 2
    assert "rounds=0 must be at least 1" in capsys.readouterr().err
