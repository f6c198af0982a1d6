"""Padding and company change nothing: dialogues of several lengths in one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from microturn.configs.main import main
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import random_checkpoint
from microturn.model.losses import MICRO_TURNS, compute_losses, weight_sums
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts, balance_
from microturn.model.noise import Noise
from microturn.training.sources import open_source

Train = Callable[..., int]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mixed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Eight dialogues of 20 micro-turns and four of 50."""
    out = tmp_path_factory.mktemp("data") / "long"
    words = ["simulate", "datagen/smoke.yaml", f"out={out}", "n_dialogues=4", "workers=1"]
    assert main([*words, "n_micro_turns=50", "dialogues_per_shard=4"]) == 0
    return f"/{{{str(data)[1:]},{str(out)[1:]}}}"


def routers(model: InteractionModel) -> list[MixtureOfExperts]:
    return [m for m in model.modules() if isinstance(m, MixtureOfExperts)]


@pytest.fixture
def model(data: Path) -> InteractionModel:
    source = open_source(str(data))
    return InteractionModel(random_checkpoint().model.cfg, source.layout, len(source.tokenizer))


@pytest.fixture
def batch(mixed: str) -> LaneBatch:
    """One dialogue of 50 micro-turns and two of 20."""
    source = open_source(mixed)
    lanes = [source.lanes(i) for i in range(len(source))]
    lanes.sort(key=lambda dialogue: -dialogue.n_micro_turns)
    return LaneBatch.collate([lanes[0], *lanes[-2:]])


@pytest.mark.parametrize("n", [1, 31, 32, 33, 80])
def test_noise_of_a_micro_turn_does_not_depend_on_the_length(n: int) -> None:
    short, long = (
        Noise.draw_by_row([3, 4], (length, 2, 64), n_draws=2, device=CPU) for length in (n, 100)
    )
    assert torch.equal(short.share, long.share[:, :n])
    assert torch.equal(short.history, long.history[:, :n])

    def by_place(numbers: torch.Tensor, length: int, draws: int) -> torch.Tensor:
        return numbers.view(draws, 2, length, 2, -1)[:, :, :n]

    for name, draws in (("drop_condition", 1), ("drop_previous", 1), ("time", 2), ("noise", 2)):
        a, b = getattr(short.flow, name), getattr(long.flow, name)
        assert torch.equal(by_place(a, n, draws), by_place(b, 100, draws)), name
    assert len(long.history.unique()) > 0.99 * long.history.numel()


def test_padding_is_in_no_loss_and_no_load(model: InteractionModel, batch: LaneBatch) -> None:
    """Losses and loads of three dialogues are the sums of each one's alone."""
    model.train()
    sizes = [50, 20, 20]
    totals = weight_sums(batch)
    assert totals[MICRO_TURNS] == sum(sizes)
    shape = (50, model.layout.audio_out_positions, model.layout.patch_dim)
    draws = model.cfg.flow.draws
    noise = Noise.draw_by_row([0, 1, 2], shape, n_draws=draws, device=CPU)
    together = compute_losses(model, batch, noise=noise, totals=totals)
    loads = balance_(routers(model))
    for router in routers(model):
        router.selection_bias.zero_()
    alone = dict.fromkeys(together, 0.0)
    for row, n in enumerate(sizes):
        one = batch.row(row).map(lambda tensor, n=n: tensor[:, :n])  # type: ignore[misc]
        own = Noise.draw_by_row([row], (n, *shape[1:]), n_draws=draws, device=CPU)
        losses = compute_losses(model, replace(one, real=None), noise=own, totals=totals)
        for name, loss in losses.items():
            alone[name] += float(loss.detach())
    for name, loss in together.items():
        assert float(loss.detach()) == pytest.approx(alone[name], rel=1e-5), name
    for router, load in zip(routers(model), loads, strict=True):
        assert torch.equal(load, router.load)
        assert load.sum() == sum(sizes) * model.layout.n_positions * router.cfg.top_k


def test_the_z_loss_in_evaluation_is_that_of_the_batch(
    model: InteractionModel, batch: LaneBatch
) -> None:
    def z_losses() -> list[float]:
        shape = (20, model.layout.audio_out_positions, model.layout.patch_dim)
        noise = Noise.draw_by_row([0], shape, n_draws=model.cfg.flow.draws, device=CPU)
        rows = [replace(batch.row(b).map(lambda t: t[:, :20]), real=None) for b in range(3)]
        return [float(compute_losses(model, row, noise=noise)["z"].detach()) for row in rows]

    trained = z_losses()
    loads = balance_(routers(model.eval()))
    for router in routers(model):
        router.selection_bias.zero_()
    with torch.no_grad():
        assert z_losses() == pytest.approx(trained, rel=1e-5)
    assert len(set(trained)) == 3
    assert all(load.any() for load in loads)
    assert not any(router.load.any() for router in routers(model))  # of training alone


def test_accumulation_over_several_lengths_gives_the_same_weights(
    mixed: str, tmp_path: Path, train: Train
) -> None:
    words = ["batch_size=4", "max_steps=8"]
    weights = []
    for accumulate in (1, 2):
        out = tmp_path / str(accumulate)
        assert train(mixed, out, *words, f"accumulate={accumulate}") == 0
        weights.append(load_file(out / "checkpoint" / "model.safetensors"))
    for name, weight in weights[0].items():
        largest = max(1.0, float(weight.abs().max()))
        apart = weight - weights[1][name]
        # Sums in another order round otherwise; eight steps of Muon carry that on, in few entries.
        assert float(apart.abs().max()) < 2e-6 * largest, name
        assert float(apart.square().mean().sqrt()) < 2e-7 * largest, name
