"""Validation losses: right values, the model's own `heard`, the best checkpoint, an early end."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from microturn.configs.load import load_config
from microturn.configs.main import main
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import load_checkpoint, random_checkpoint
from microturn.model.losses import lane_terms, position_losses
from microturn.model.noise import Noise
from microturn.model.own_heard import own_heard
from microturn.model.streams import IDLE
from microturn.training import TrainingConfig, build_run
from microturn.training.sources import open_source
from microturn.training.state import load, saved_states
from microturn.training.validating.losses import ValidationLosses

Train = Callable[..., int]


@pytest.fixture(scope="module")
def setting(data: Path) -> tuple[Any, LaneBatch, Noise]:
    """An untrained model that now and then hears a word, four dialogues, and their noise."""
    source = open_source(str(data))
    vocab = len(source.tokenizer)
    layout = source.layout
    config = random_checkpoint().model.cfg
    torch.manual_seed(0)
    from microturn.model.model import InteractionModel

    model = InteractionModel(config, layout, vocab).eval()
    batch = LaneBatch.collate([source.lanes(i) for i in range(4)])
    shape = (batch.shape[1], layout.audio_out_positions, layout.patch_dim)
    noise = Noise.draw_by_row([1, 2, 3, 4], shape, n_draws=2, device=torch.device("cpu"))
    return model, batch, noise


def test_own_heard_is_what_the_model_would_choose_having_read_it(
    setting: tuple[Any, LaneBatch, Noise],
) -> None:
    """The whole dialogue, read at once with the own words, predicts these same words."""
    model, batch, _ = setting
    patches = model.patches(batch["audio_out"])
    heard = own_heard(model, batch, patches)
    assert heard.shape == batch["heard"].shape
    assert not torch.equal(heard, batch["heard"])
    read = LaneBatch(
        lanes={**batch.lanes, "heard": heard},
        weights=batch.weights,
        missing_input=batch.missing_input,
    )
    with torch.no_grad():
        logits = model.unembed(model(read, patches)["heard"])
    assert torch.equal(logits.argmax(-1), heard)


def test_losses_are_means_over_all_dialogues_and_at_onsets(
    setting: tuple[Any, LaneBatch, Noise],
) -> None:
    model, batch, noise = setting
    losses = ValidationLosses(lane_terms(model.layout))
    losses.update(model, batch, noise, own=True)
    values = losses.compute(own=True)
    assert set(values) == set(losses.names)
    with torch.no_grad():
        errors = position_losses(model, batch, noise)
    for term, lane in (("heard", "heard"), ("say", "say"), ("flow", "audio_out")):
        weight = batch.weights[lane].flatten()
        mean = float((errors[term] * weight).sum() / weight.sum())
        assert float(values[f"validate/{term}"]) == pytest.approx(mean, rel=1e-5)
    tokens = batch["say"].flatten(1)
    before = F.pad(tokens[:, :-1], (1, 0), value=IDLE)
    first = ((tokens != IDLE) & (before == IDLE)).flatten() & (batch.weights["say"].flatten() > 0)
    assert first.any()
    onset = float(errors["say"][first].mean())
    assert float(values["validate/say_onset"]) == pytest.approx(onset, rel=1e-5)
    total = sum(float(values[f"validate/{term}"]) for term in ("heard", "say", "flow"))
    assert float(values["validate/loss"]) == pytest.approx(total, rel=1e-6)
    assert float(values["validate/own_heard/say"]) != float(values["validate/say"])


def words_of(data: Path, *more: str) -> list[str]:
    return [f"validate.data={data}", "validate.every_steps=2", "validate.n_dialogues=6", *more]


def rows_of(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]


def test_a_run_validates_without_changing_its_weights_and_keeps_the_best(
    data: Path, tmp_path: Path, train: Train
) -> None:
    assert train(data, tmp_path / "plain", "max_steps=6") == 0
    out = tmp_path / "run"
    assert train(data, out, "max_steps=6", "log_steps=2", *words_of(data)) == 0
    weights = [
        (folder / "checkpoint" / "model.safetensors").read_bytes()
        for folder in (tmp_path / "plain", out)
    ]
    assert weights[0] == weights[1]
    rows = rows_of(out)
    assert [row["step"] for row in rows] == [2, 4, 6]
    best = min(rows, key=lambda row: row["validate/own_heard/loss"])
    kept = load_checkpoint(out / "best").model
    assert kept.state_dict().keys() == load_checkpoint(out / "checkpoint").model.state_dict().keys()
    if best["step"] == 6:
        assert (out / "best" / "model.safetensors").read_bytes() == weights[1]


def test_a_run_ends_where_validation_gets_no_better_and_stays_ended(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rates of nothing no loss gets better."""
    still = ["optim.lr=0", "optim.muon_lr=0", "model.moe.bias_speed=0", "max_steps=20"]
    words = [*still, *words_of(data, "validate.patience=2")]
    for _ in range(2):
        assert train(data, tmp_path, *words) == 0
        assert "no better in 2 validations since; the run ends" in capsys.readouterr().err
        assert [row["step"] for row in rows_of(tmp_path)] == [2, 4, 6]
        assert load(saved_states(tmp_path)[-1]).step == 6


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("validate.monitor=val_loss", "validate.monitor=val_loss is no validation loss"),
        ("validate.data=nowhere", "no shard set in nowhere"),
        ("validate.every_steps=0", "validate.every_steps=0 must be at least 1"),
    ],
)
def test_a_validation_that_cannot_be_is_one_sentence(
    word: str, message: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["training/smoke.yaml", f"data={data}", f"out={tmp_path}", "accelerator=cpu"]
    assert main(["train", *words, *words_of(data, word)]) in (1, 2)
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_each_device_validates_on_an_equal_share(data: Path, tmp_path: Path) -> None:
    from microturn.training.data import ValidationDataset

    cfg = load_config(
        TrainingConfig,
        ["training/smoke.yaml"],
        [f"data={data}", f"out={tmp_path}", *words_of(data)],
    )
    _, batches = build_run(cfg)
    assert batches.validation is not None
    shares = [
        ValidationDataset(batches.validation, 7, 2, rank=rank, world_size=2) for rank in (0, 1)
    ]
    numbers = [[i for b in share for i in b.dialogues] for share in shares]  # type: ignore[attr-defined]
    assert numbers == [[0, 2, 4], [1, 3, 5]]
    with pytest.raises(ValueError, match="fewer dialogues than there are devices=9"):
        ValidationDataset(batches.validation, 7, 2, rank=0, world_size=9)


def test_dialogues_read_the_truth_nothing_or_what_the_model_hears(
    setting: tuple[Any, LaneBatch, Noise],
) -> None:
    from microturn.training.config import HeardConfig
    from microturn.training.validating.read_heard import read_heard

    model, batch, _ = setting
    seeds = [1, 2, 3, 4]

    def read(step: int = 0, **keys: Any) -> torch.Tensor | None:
        return read_heard(model, batch, seeds, step, HeardConfig(**keys))

    assert read() is None
    masked, own = read(masked_share=1.0), read(own_share=1.0)
    assert masked is not None
    assert own is not None
    assert (masked == IDLE).all()
    assert torch.equal(own, own_heard(model, batch, model.patches(batch["audio_out"])))
    half = read(step=4, masked_share=1.0, ramp_steps=10)  # a share of one half by now
    assert half is not None
    for seed, read_row, true_row in zip(seeds, half, batch["heard"], strict=True):
        keeps = np.random.default_rng(seed).random() >= 0.5
        assert torch.equal(read_row, true_row if keeps else torch.zeros_like(true_row))
    with pytest.raises(ValueError, match="together at most 1"):
        HeardConfig(own_share=0.7, masked_share=0.7)


def test_shares_of_heard_change_the_training(data: Path, tmp_path: Path, train: Train) -> None:
    words = ["max_steps=2", "heard.own_share=0.5", "heard.masked_share=0.5"]
    assert train(data, tmp_path / "a", *words) == 0
    assert train(data, tmp_path / "b", *words, "accumulate=2") == 0
    assert train(data, tmp_path / "c", "max_steps=2") == 0
    a, b, c = (load_checkpoint(tmp_path / n / "checkpoint").model.state_dict() for n in "abc")
    assert all(torch.allclose(a[name], b[name], atol=1e-3) for name in a)
    assert not all(torch.allclose(a[name], c[name], atol=1e-3) for name in a)
