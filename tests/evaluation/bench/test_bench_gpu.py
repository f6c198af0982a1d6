"""The GPU benches at tiny sizes on a CPU, and their refusal without a GPU."""

import json
from pathlib import Path

import pytest
import torch

from microturn.configs.main import main
from microturn.evaluation.bench.gpu_steps import StepRecorder

GPU = torch.cuda.is_available()
COMMANDS = ["gpu-kernels", "gpu-sessions", "gpu-training"]


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
    assert figures["batch 2"]["step_ms"] > 0
    assert 0 < figures["batch 2"]["utilisation"] < 10
    assert "batch 2" in capsys.readouterr().out


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
