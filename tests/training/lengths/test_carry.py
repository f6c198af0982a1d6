"""Long dialogues in windows: the losses of the whole, the memory of one, no gradient between."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from microturn.configs.main import main
from microturn.evaluation.bench.gpu.trainee import random_lanes
from microturn.model.batch import LaneBatch
from microturn.model.config import ModelConfig, MoEConfig
from microturn.model.losses import compute_losses, weight_sums
from microturn.model.model import InteractionModel
from microturn.model.noise import FlowNoise, Noise
from microturn.model.streams import StreamLayout
from microturn.model.windows import losses_in_windows
from microturn.training.config import HeardConfig
from microturn.training.validating.read_heard import read_heard

Train = Callable[..., int]
N, B, DRAWS = 60, 2, 2
CONFIG = ModelConfig(
    d_model=48,
    n_layers=3,
    n_heads=4,
    d_ff=64,
    window=9,
    global_every=2,
    global_window=25,
    n_sinks=2,
    moe=MoEConfig(n_experts=4, d_expert=16),
)


def part(noise: Noise, start: int, stop: int) -> Noise:
    """The noise of some micro-turns."""

    def cut(numbers: Tensor, draws: int, *shape: int) -> Tensor:
        own = numbers.view(draws, B, N, -1, numbers.shape[-1] if numbers.ndim > 1 else 1)
        return own[:, :, start:stop].reshape(-1, *shape)

    flow, size = noise.flow, noise.history.shape[-1]
    return Noise(
        share=noise.share[:, start:stop],
        history=noise.history[:, start:stop],
        flow=FlowNoise(
            drop_condition=cut(flow.drop_condition, 1, 1),
            drop_previous=cut(flow.drop_previous, 1, 1),
            time=cut(flow.time, DRAWS),
            noise=cut(flow.noise, DRAWS, size),
        ),
    )


class Trial:
    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = InteractionModel(CONFIG, StreamLayout(), 1024).train()
        for block in self.model.flow.blocks:  # they start closed, and would pass no gradient
            torch.nn.init.normal_(block.modulation.weight, std=0.1)  # type: ignore[arg-type, union-attr]
        torch.nn.init.normal_(self.model.flow.patch_out.weight, std=0.1)
        batch = random_lanes(self.model.layout, B, N)
        real = torch.ones(B, N)
        real[1, 50:] = 0
        weights = {lane: weight * real[..., None] for lane, weight in batch.weights.items()}
        self.batch: LaneBatch = replace(batch, real=real, weights=weights)
        layout = self.model.layout
        self.noise = Noise.draw_by_row(
            [1, 2],
            (N, layout.audio_out_positions, layout.patch_dim),
            n_draws=DRAWS,
            device=torch.device("cpu"),
        )

    def losses(self, size: int, heard: Tensor | None = None) -> dict[str, Tensor]:
        totals = weight_sums(self.batch)
        if not size:
            return compute_losses(
                self.model, self.batch, noise=self.noise, totals=totals, heard=heard
            )
        return losses_in_windows(
            self.model,
            self.batch,
            size=size,
            noise=lambda k, n: part(self.noise, k * size, k * size + n),
            totals=totals,
            heard=heard,
        )

    def gradients(self, size: int) -> dict[str, Tensor]:
        self.model.zero_grad()
        self.losses(size)["loss"].backward()
        return {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial()


@pytest.mark.parametrize("size", [7, 20, 45])
def test_losses_and_loads_are_those_of_the_whole_dialogue(trial: Trial, size: int) -> None:
    routers = trial.model.backbone.routers().values()
    seen = []
    for window in (0, size):
        for router in routers:
            router.load.zero_()
        losses = trial.losses(window)
        losses["loss"].backward()
        seen.append((losses, [router.load.clone() for router in routers]))
    for name, loss in seen[0][0].items():
        assert float(loss.detach()) == pytest.approx(float(seen[1][0][name].detach()), rel=1e-5)
    assert all(map(torch.equal, seen[0][1], seen[1][1]))


def test_windows_read_what_the_model_heard_itself_as_the_whole_does(trial: Trial) -> None:
    """It hears the whole dialogue, as a session; a window reads its own part of that."""
    cfg, true = HeardConfig(own_share=1.0), trial.batch["heard"]
    heard = read_heard(trial.model, trial.batch, [1, 2], 0, cfg)
    assert heard is not None
    assert heard.shape == true.shape
    assert (heard != true).any()
    whole, parts = (trial.losses(size, heard) for size in (0, 20))
    for name, loss in whole.items():
        assert float(parts[name].detach()) == pytest.approx(float(loss.detach()), rel=1e-5), name
    assert float(whole["say"].detach()) != float(trial.losses(0)["say"].detach())


def test_gradients_are_cut_at_borders_and_nowhere_else(trial: Trial) -> None:
    whole, one, cut = (trial.gradients(size) for size in (0, N, 20))
    for name, gradient in whole.items():
        torch.testing.assert_close(one[name], gradient, rtol=1e-4, atol=1e-6)
    values = "backbone.blocks.0.attention.qkv.weight"  # keys of earlier windows count no more
    assert float((cut[values] - whole[values]).norm()) > 1e-4 * float(whole[values].norm())
    unembed = "unembed.weight"  # nothing of it lies across a border
    torch.testing.assert_close(cut[unembed], whole[unembed], rtol=1e-4, atol=1e-6)


def test_a_run_in_windows_goes_through_all_of_a_dialogue(tmp_path: Path, train: Train) -> None:
    data = tmp_path / "set"
    words = ["simulate", "datagen/smoke.yaml", f"out={data}", "n_dialogues=4", "workers=1"]
    assert main([*words, "n_micro_turns=50"]) == 0
    windows = ["carry=true", "crop_micro_turns=20", "max_steps=4", "log_steps=1"]
    assert train(data, tmp_path / "a", *windows) == 0
    assert train(data, tmp_path / "whole", *windows[2:]) == 0
    logs = [tmp_path / run / "log" / "metrics.csv" for run in ("a", "whole")]
    a, whole = (list(csv.DictReader(log.read_text().splitlines())) for log in logs)
    own = [*windows[:2], "max_steps=1", "log_steps=1", "heard.own_share=1"]
    assert train(data, tmp_path / "own", *own) == 0
    (row,) = csv.DictReader((tmp_path / "own" / "log" / "metrics.csv").read_text().splitlines())
    # The targets stay the true words, and an untrained model predicts them from anything alike.
    assert float(row["loss/heard"]) == pytest.approx(float(a[0]["loss/heard"]), rel=0.05)
    for lane in ("heard", "say"):  # before the first step; the noise of later windows is another
        first = [float(run[0][f"loss/{lane}"]) for run in (a, whole)]
        assert first[0] == pytest.approx(first[1], rel=0.02)
    assert train(data, tmp_path / "b", *windows, "accumulate=2") == 0
    weights = [load_file(tmp_path / run / "checkpoint/model.safetensors") for run in ("a", "b")]
    for name, weight in weights[0].items():
        assert float((weight - weights[1][name]).abs().max()) < 1e-5, name


def test_windows_need_a_length(
    tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("none", tmp_path, "carry=true") == 2
    assert (
        "carry=true needs the length of a window: give crop_micro_turns=N"
        in capsys.readouterr().err
    )
