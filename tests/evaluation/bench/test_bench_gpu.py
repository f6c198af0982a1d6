"""The GPU benches at tiny sizes on a CPU, and their refusal without a GPU."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from microturn.configs.main import main
from microturn.evaluation.bench.gpu import parts
from microturn.evaluation.bench.gpu.steps import StepRecorder

GPU = torch.cuda.is_available()
COMMANDS = ["gpu", "gpu-kernels", "gpu-sessions", "gpu-training"]


@pytest.mark.skipif(GPU, reason="there is a GPU")
@pytest.mark.parametrize("name", COMMANDS)
def test_without_a_gpu_only_smoke_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", name, f"out={tmp_path}"]) == 1
    assert capsys.readouterr().err == (
        f"microturn bench {name}: no CUDA device was found; use a GPU, or smoke=true for tiny "
        "sizes\n"
    )
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_sessions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu-sessions", "smoke=true", f"out={tmp_path}"]) == 0
    figures = json.loads((tmp_path / "sessions.json").read_text())
    assert figures["tiny 2"]["same"] is True
    assert figures["tiny 1"]["p50_ms"] > 0
    assert figures["long"]["micro_turns"] == 8
    assert "long session of tiny" in capsys.readouterr().out


def test_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu-training", "smoke=true", f"out={tmp_path}"]) == 0
    figures = json.loads((tmp_path / "training.json").read_text())
    assert figures["smoke 2"]["step_ms"] > 0
    assert 0 < figures["smoke 2"]["utilisation"] < 10
    assert figures["windows"]["12"]["error"] < 1e-4
    assert figures["operations"]["parts"]["experts"]["backward"] > 0
    assert "smoke 2" in capsys.readouterr().out


@pytest.mark.slow
def test_all_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "smoke=true", "max_s=3000", f"out={tmp_path}"]) == 0
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert list(figures["parts"]) == ["simulate", "training", "sessions", "kernels"]
    assert figures["training"]["smoke train"]["data_wait"] > 0
    printed = capsys.readouterr().out
    assert printed.count("\n") < 30
    for row in ("smoke train", "tiny 1", "T=1", "worst error in float32", "same bits in 12 of 12"):
        assert row in printed


def test_a_part_that_fails_or_hangs_costs_its_own_figures_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write = "import pathlib; pathlib.Path('{}').write_text('{}')"
    row = {"step_ms": 20.0, "positions_per_s": 5e3, "utilisation": 0.5, "gpu_ms": 5.0}
    programs = {
        "training": write.format(tmp_path / "training.json", json.dumps({"small 32": row})),
        "sessions": "raise SystemExit(3)",
        "kernels": "import time; time.sleep(60)",
    }

    def run(words: list[str], out: Path, limit_s: float) -> dict[str, Any]:
        program = programs[words[1].removeprefix("gpu-")]
        monkeypatch.setattr(parts, "PROGRAM", (sys.executable, "-c", program))
        return run_part(words, out, min(limit_s, 2.0))

    run_part = parts.run_part
    monkeypatch.setattr(parts, "run_part", run)
    (tmp_path / "sessions.json").write_text('{"tiny 1": "of an earlier run"}')
    words = ["bench", "gpu", "smoke=true", "data=anything", f"out={tmp_path}"]
    assert main(words) == 1
    printed = capsys.readouterr().out
    assert "small 32                   20.0      5,000      50.0%" in printed
    assert "75.0%" in printed  # of the step the GPU had nothing to do
    assert f"FAILED sessions: exit code 3; see {tmp_path}/sessions.log" in printed
    assert f"FAILED kernels: ended after 2 s; see {tmp_path}/kernels.log" in printed
    figures = json.loads((tmp_path / "gpu.json").read_text())
    assert figures["training"] == {"small 32": row}
    assert "sessions" not in figures


def test_parts_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu", "parts=[train]"]) == 2
    assert "parts=['train'] must be some of training, sessions, kernels" in capsys.readouterr().err


@pytest.mark.slow  # every kernel in Triton's interpreter
def test_kernels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "gpu-kernels", "smoke=true", f"out={tmp_path}"]) == 0
    figures = json.loads((tmp_path / "kernels.json").read_text())
    assert not figures["failures"]
    assert all(figures["bits"].values())
    assert figures["layer"].keys() == {"1", "4"}
    assert "worst parity error" in capsys.readouterr().out


def test_a_failure_ends_only_its_step_and_late_steps_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValueError("too loud")

    recorder = StepRecorder(tmp_path / "figures.json", max_s=1e9)
    recorder.run("first", fail)
    recorder.run_in_time("second", lambda: 2)
    recorder.max_s = 0.0
    recorder.run_in_time("third", lambda: 3)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures == {
        "failures": ["first: ValueError: too loud"],
        "left_out": ["third"],
        "second": 2,
    }
    assert recorder.finish("table") == 1
    printed = capsys.readouterr().out
    assert printed == "table\nleft out after 0 s: third\nFAILED first: ValueError: too loud\n"
