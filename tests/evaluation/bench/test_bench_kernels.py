import json
from pathlib import Path

import pytest

from microturn.configs.main import main

QUICK = ["tokens=[1,3]", "repeats=1", "d_model=16", "n_experts=4", "top_k=2", "d_expert=8"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, where it compiles
def test_bench_kernels_says_parity_and_times(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "kernels.json"
    assert main(["bench", "kernels", *QUICK, f"json={target}"]) == 0
    printed = capsys.readouterr().out
    assert "parity experts by expert float32" in printed
    result = json.loads(target.read_text())
    assert list(result["layer"]) == ["1", "3"]
    assert result["stream_gb_s"] > 0
    for row in result["layer"].values():
        assert row["us"]["expert loop"] > 0
        assert row["floor_bytes"] >= 2 * 3 * 16 * 8 * 2
    assert all(row["error"] < row["limit"] for row in result["parity"].values())


def test_more_experts_wanted_than_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels", "n_experts=2", "top_k=3"]) == 2
    assert "top_k=3 must not exceed n_experts=2" in capsys.readouterr().err


def test_tokens_must_be_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "kernels", "tokens=[0]"]) == 2
    assert "tokens=[0] must be counts of at least 1" in capsys.readouterr().err
