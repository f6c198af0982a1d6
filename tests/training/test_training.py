"""Training: the order of data, resuming, what is left behind, and errors in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from microturn.configs.main import main
from microturn.datagen.sets.shards import ShardReader
from microturn.model.checkpoint import load_checkpoint
from microturn.training.config import OptimConfig, TrainingConfig
from microturn.training.data import StepSampler
from microturn.training.optim import build_optimizer, orthogonalise, rate
from microturn.training.reading.order import Shuffled
from microturn.training.sources import open_source
from microturn.training.state import load, saved_states
from microturn.training.train import choose_precision

SMOKE = "training/smoke.yaml"
Train = Callable[..., int]


@given(
    n=st.integers(1, 20),
    batch=st.integers(1, 7),
    steps=st.integers(1, 30),
    first=st.integers(0, 30),
    seed=st.integers(0, 3),
)
def test_a_resumed_order_is_the_rest_of_the_straight_one(
    n: int, batch: int, steps: int, first: int, seed: int
) -> None:
    order = Shuffled(n, (seed,))
    whole = list(StepSampler(order, batch, first_step=0, steps=steps))
    rest = list(StepSampler(order, batch, first_step=first, steps=steps))
    assert rest == whole[first:]
    drawn = [i for draw in whole for i in draw.dialogues]
    for epoch in range(len(drawn) // n):
        assert sorted(drawn[epoch * n : (epoch + 1) * n]) == list(range(n))


def test_training_leaves_a_checkpoint_a_log_and_a_state(
    data: Path, tmp_path: Path, train: Train
) -> None:
    out = tmp_path / "run"
    assert train(data, out) == 0
    checkpoint = load_checkpoint(out / "checkpoint")
    assert checkpoint.layout == ShardReader(data).layout
    assert all(torch.isfinite(p).all() for p in checkpoint.model.parameters())
    assert (out / "config.yaml").is_file()
    heard = (out / "checkpoint" / "contents.json").read_text()
    assert heard == (data / "contents.json").read_text(), "who was heard stays with the model"
    assert [path.name for path in saved_states(out)] == ["step00000006.safetensors"]
    assert load(saved_states(out)[-1]).step == 6


def test_a_longer_run_goes_on_from_the_saved_state(
    data: Path, tmp_path: Path, train: Train
) -> None:
    """Weights move on, and the optimiser remembers every step."""
    assert train(data, tmp_path / "a", "max_steps=4") == 0
    before = load_checkpoint(tmp_path / "a" / "checkpoint").model.state_dict()
    assert train(data, tmp_path / "a", "max_steps=8") == 0
    state = load(saved_states(tmp_path / "a")[-1])
    assert state.step == 8
    after = load_checkpoint(tmp_path / "a" / "checkpoint").model.state_dict()
    moved = [k for k in before if not torch.equal(before[k], after[k])]
    assert len(moved) > len(before) // 2
    stored = load_file(state.path)
    assert {int(v) for name, v in stored.items() if name.startswith("optimiser/step/")} == {8}


def test_finished_training_is_not_repeated(data: Path, tmp_path: Path, train: Train) -> None:
    assert train(data, tmp_path, "max_steps=2") == 0
    before = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()
    assert train(data, tmp_path, "max_steps=2") == 0
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == before


def test_listening_scores_and_draws_held_out_dialogues(
    data: Path, tmp_path: Path, train: Train
) -> None:
    words = [
        f"streaming_validation.data={data}",
        "streaming_validation.n_dialogues=2",
        "streaming_validation.every_minutes=0",
    ]
    assert train(data, tmp_path, "max_steps=2", *words) == 0
    rows = (tmp_path / "streaming_validation" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [1, 2]
    assert "turn" in json.loads(rows[0])["suites"]
    assert sorted(p.name for p in (tmp_path / "streaming_validation").glob("step000002*")) == [
        "step000002-lanes.png",
        "step000002.png",
        "step000002.wav",
    ]


def test_a_run_listens_when_it_ends(data: Path, tmp_path: Path, train: Train) -> None:
    words = [
        f"streaming_validation.data={data}",
        "streaming_validation.n_dialogues=1",
        "streaming_validation.every_minutes=60",
    ]
    assert train(data, tmp_path, "max_steps=2", *words) == 0
    rows = (tmp_path / "streaming_validation" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2]


def test_minutes_end_a_run_before_its_steps(data: Path, tmp_path: Path, train: Train) -> None:
    assert train(data, tmp_path, "max_steps=100000", "max_minutes=0.02") == 0
    state = load(saved_states(tmp_path)[-1])
    assert 0 < state.step < 100000
    assert state.facts.trained_seconds >= 1.2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=nowhere"], "no shard set in nowhere"),
        (["data={data}", "max_steps=0"], "at least 1"),
        (["data={data}", "precision=fp4"], "none of auto, 32, bf16"),
        (["data={data}", "optim.decay=0"], "optim.decay=0"),
        (["data={data}", "optim.muon_rl=1"], "muon_lr"),
        (["data={data}", "listen.data=x"], "listen.data was renamed to streaming_validation.data"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str],
    message: str,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [word.format(data=data) for word in words]
    assert main(["train", SMOKE, f"out={tmp_path}", *filled]) in (1, 2)
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_statistics_make_speech_standard(data: Path) -> None:
    from microturn.model.config import ModelConfig
    from microturn.model.model import InteractionModel
    from microturn.training.build import fit_mel_statistics

    source = open_source(str(data))
    small = ModelConfig(d_model=32, n_layers=1, n_heads=2)
    model = InteractionModel(small, source.layout, len(source.tokenizer))
    fit_mel_statistics(model, source)
    patches = torch.cat(
        [model.patches(torch.from_numpy(source.lanes(i)["audio_out"])[None]) for i in range(4)]
    )
    silent = model.silent_patch(1)
    speech = patches.flatten(0, 2)[(patches.flatten(0, 2) - silent).abs().mean(-1) > 0.5]
    assert abs(float(speech.mean())) < 1.0
    assert 0.4 < float(speech.std()) < 2.0
    assert float(silent.mean()) < -1.0


def test_rate_warms_up_stays_and_falls_to_zero() -> None:
    cfg = OptimConfig(warmup_steps=10, decay=0.5)
    assert rate(0, 0.0, cfg) == pytest.approx(0.1)
    assert rate(20, 0.3, cfg) == 1.0
    assert rate(80, 0.75, cfg) == pytest.approx(0.5)
    assert rate(100, 1.0, cfg) == 0.0


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (3, 8, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape)))
    assert float(values.min()) > 0.4
    assert float(values.max()) < 1.4


def test_every_parameter_is_optimised_once() -> None:
    from microturn.model.checkpoint import random_checkpoint

    model = random_checkpoint().model
    groups = build_optimizer(model, OptimConfig()).param_groups
    ids = [id(p) for group in groups for p in group["params"]]
    assert len(ids) == len(set(ids)) == len(list(model.parameters()))
    muon = [p for group in groups if group["muon"] for p in group["params"]]
    assert all(p.dim() >= 2 for p in muon)
    assert len(muon) > 5


def test_precision_is_chosen_by_device() -> None:
    assert choose_precision("auto", gpu=False) == "32-true"
    assert choose_precision("auto", gpu=True) == "bf16-mixed"
    assert choose_precision("bf16", gpu=False) == "bf16-mixed"
    with pytest.raises(ValueError, match="precision=8"):
        TrainingConfig(data="x", out="y", precision="8")
