"""The bench measures real steps, and plans the same runs."""

import json
from pathlib import Path

import pytest

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.evaluation.bench.planned.bench import planned_run
from microturn.training.config import TrainingConfig
from microturn.training.sources import open_source


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=3", "workers=1"]
    assert main([*words, "n_micro_turns=40"]) == 0
    return out


def test_a_run_is_measured_and_planned(data: Path, tmp_path: Path) -> None:
    out, run = tmp_path / "plan.json", "training/smoke.yaml activation_checkpointing=true"
    words = ["bench", "plan", f"data={data}", f"runs=[{run}]", "steps=2", "warm_up=1"]
    assert main([*words, f"json={out}"]) in (0, 1)
    row = json.loads(out.read_text())["runs"][run]
    assert row["step_s"] > 0 < row["planned_step_s"]
    assert row["memory_mb"] > 0
    assert row["memory_ratio"] == pytest.approx(row["planned_memory_mb"] / row["memory_mb"])


def test_the_run_is_planned_as_it_is_trained(data: Path) -> None:
    words = [f"data={data}", "out=RUN", "batch_size=6", "accumulate=3", "precision=bf16"]
    cfg = load_config(TrainingConfig, ["training/smoke.yaml"], words)
    planned = planned_run(cfg, open_source(str(data)), rate=5e10)
    assert (planned.batch_size, planned.accumulate, planned.precision) == (6, 3, "bf16")
    assert (planned.micro_turns, planned.micro_turns_at_once) == (40, 80)
    assert planned.model == cfg.model
    assert planned.optimizer_flops_per_s == pytest.approx(0.95 * 5e10)


def test_no_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "plan", "runs=[]"]) == 2
    assert "runs=[] must name" in capsys.readouterr().err
