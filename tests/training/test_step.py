"""What one step does, and refuses to do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from microturn.model.checkpoint import random_checkpoint
from microturn.model.losses import compute_losses, weight_sums
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.noise import Noise
from microturn.training.config import TrainingConfig
from microturn.training.data import DialogueData, MicroBatch
from microturn.training.module import TrainingModule, seed_of
from microturn.training.parallel import recompute_blocks
from microturn.training.sources import open_source
from microturn.training.state import load, saved_states

Train = Callable[..., int]


@pytest.fixture(scope="module")
def batches(data: Path) -> list[MicroBatch]:
    """The four micro-batches of one step of eight dialogues."""
    loaded = DialogueData(open_source(str(data)), batch_size=8, seed=0, steps=1, n_micro_batches=4)
    return list(loaded.train_dataloader())


def module_of(data: Path, **changes: object) -> TrainingModule:
    source = open_source(str(data))
    model = InteractionModel(random_checkpoint().model.cfg, source.layout, len(source.tokenizer))
    cfg = TrainingConfig(data=str(data), out="run", **changes)  # type: ignore[arg-type]
    return TrainingModule(model.train(), cfg, names=source.name)


def step(module: TrainingModule, batches: list[MicroBatch]) -> torch.optim.Optimizer:
    """All of a step but the change of weights."""
    optimizer: torch.optim.Optimizer = module.configure_optimizers()["optimizer"]
    for index, batch in enumerate(batches):
        module.training_step(batch, index).backward()
    module.on_before_optimizer_step(optimizer)
    return optimizer


def spoil(batch: MicroBatch, row: int) -> MicroBatch:
    weight = batch.lanes.weights["say"].clone()
    weight[row, 2] = torch.nan
    weights = {**batch.lanes.weights, "say": weight}
    return replace(batch, lanes=replace(batch.lanes, weights=weights))


def test_a_loss_that_is_not_finite_names_the_dialogue(
    data: Path, batches: list[MicroBatch]
) -> None:
    module = module_of(data, accumulate=4)
    optimizer = step(module, [batches[0], spoil(batches[1], 1), *batches[2:]])
    before = [p.clone() for p in module.model.parameters()]
    with pytest.raises(ValueError, match="step 0: the loss or its gradient is not finite") as error:
        module.configure_gradient_clipping(optimizer)
    names = [open_source(str(data)).name(i) for batch in batches for i in batch.dialogues]
    assert [name for name in names if name in str(error.value)] == [names[3]]
    assert "run/states" in str(error.value)
    assert all(map(torch.equal, before, module.model.parameters()))


def test_weights_that_are_not_finite_blame_no_single_dialogue(
    data: Path, batches: list[MicroBatch]
) -> None:
    module = module_of(data)
    module.model.unembed.weight.data.fill_(torch.inf)
    optimizer = step(module, batches[:1])
    with pytest.raises(ValueError) as error:
        module.configure_gradient_clipping(optimizer)
    for i in batches[0].dialogues:
        assert open_source(str(data)).name(i) in str(error.value)


def test_a_run_that_diverges_stops_and_keeps_its_state(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "max_steps=3") == 0
    before = saved_states(tmp_path)[-1].read_bytes()
    capsys.readouterr()
    rates = ["optim.lr=1e36", "optim.muon_lr=1e36", "optim.warmup_steps=0"]
    assert train(data, tmp_path, "max_steps=99", *rates) == 1
    said = capsys.readouterr().err
    assert said.count("microturn train: step 4: the loss or its gradient is not finite") == 1
    assert ".tar dialogue" in said
    assert "Traceback" not in said
    (state,) = saved_states(tmp_path)
    assert state.read_bytes() == before
    assert load(state).step == 3


def test_noise_of_a_dialogue_does_not_depend_on_its_batch(batches: list[MicroBatch]) -> None:
    seeds = [seed_of(7, 3, row) for row in range(5)]
    shape, draws = (20, 4, 320), 2
    device = torch.device("cpu")
    whole = Noise.draw_by_row(seeds, shape, n_draws=draws, device=device)
    last = Noise.draw_by_row(seeds[3:], shape, n_draws=draws, device=device)
    assert torch.equal(whole.share[3:], last.share)
    assert torch.equal(whole.history[3:], last.history)
    each = whole.flow.noise.view(draws, 5, -1)[:, 3:]
    assert torch.equal(each, last.flow.noise.view(draws, 2, -1))
    assert torch.equal(whole.flow.time.view(draws, 5, -1)[:, 3:], last.flow.time.view(draws, 2, -1))
    assert abs(float(whole.history.mean())) < 0.01
    assert float(whole.history.std()) == pytest.approx(1.0, abs=0.01)
    assert len(set(seeds)) == 5


def test_losses_of_micro_batches_add_up_to_those_of_the_batch(
    data: Path, batches: list[MicroBatch]
) -> None:
    model = module_of(data).model
    sums = [weight_sums(batch.lanes) for batch in batches]
    totals = {name: sum(s[name] for s in sums) for name in sums[0]}
    assert totals == pytest.approx(batches[0].weight_sums)
    device = torch.device("cpu")
    layout, draws = model.layout, model.cfg.flow.draws
    shape = (20, layout.audio_out_positions, layout.patch_dim)
    drawn = [Noise.draw_by_row([1, 2], shape, n_draws=draws, device=device) for _ in batches]
    pairs = list(zip(batches, drawn, strict=True))
    with torch.no_grad():
        own = [compute_losses(model, batch.lanes, noise=noise) for batch, noise in pairs]
        alone = [compute_losses(model, p.lanes, noise=noise, totals=totals) for p, noise in pairs]
    shares = [s["say"] / totals["say"] for s in sums]
    mean = sum(share * float(p["say"]) for share, p in zip(shares, own, strict=True))
    assert sum(float(p["say"]) for p in alone) == pytest.approx(mean, rel=1e-5)
    z = sum(float(p["z"]) for p in own) / len(batches)
    assert sum(float(p["z"]) for p in alone) == pytest.approx(z, rel=1e-5)


def test_a_request_is_agreed_on_before_the_step_that_it_follows(
    data: Path, batches: list[MicroBatch]
) -> None:
    module = module_of(data)
    due = {"save": False, "stop": True}
    save, stop = (module.request(lambda name=name: due[name]) for name in due)  # type: ignore[misc]
    step(module, batches[:1])
    assert (save.agreed, stop.agreed) == (False, True)
    due.update(save=True, stop=False)
    assert (save.agreed, stop.agreed) == (False, True)  # asked once per step
    step(module, batches[:1])
    assert (save.agreed, stop.agreed) == (True, False)


def test_balance_is_watched_lane_by_lane(data: Path, batches: list[MicroBatch]) -> None:
    module = module_of(data)
    step(module, batches[:1])
    loads = module.lane_loads()
    assert set(loads) == {f"router/{n}" for n, s in module.model.layout.lane_sizes.items() if s}
    (router,) = [m for m in module.model.modules() if isinstance(m, MixtureOfExperts)]
    assert router.chosen is not None
    S, E = module.model.layout.n_positions, router.cfg.n_experts
    chosen = router.chosen.view(-1, S, router.cfg.top_k).numpy()
    counts = np.bincount(chosen[:, module.model.layout.lanes["say"]].ravel(), minlength=E)
    assert float(loads["router/say"]) == pytest.approx(counts.max() / counts.mean())


def test_recomputed_blocks_count_their_experts_once(data: Path, batches: list[MicroBatch]) -> None:
    plain, again = module_of(data, accumulate=2), module_of(data, accumulate=2)
    again.model.load_state_dict(plain.model.state_dict())
    recompute_blocks(again.model)
    for module in (plain, again):
        step(module, batches[:2])
    loads = [
        torch.stack([m.load for m in module.model.modules() if isinstance(m, MixtureOfExperts)])
        for module in (plain, again)
    ]
    assert loads[0].sum() > 0
    assert torch.equal(*loads)


def test_a_wrapped_model_streams_and_saves_as_before(
    data: Path, tmp_path: Path, train: Train
) -> None:
    words = [
        f"streaming_validation.data={data}",
        "streaming_validation.n_dialogues=1",
        "streaming_validation.every_minutes=0",
    ]
    wrapped = ["activation_checkpointing=true", "accumulate=2", "max_steps=1"]
    assert train(data, tmp_path, *words, *wrapped) == 0
    assert (tmp_path / "streaming_validation" / "scores.jsonl").read_text().count("\n") == 1


def test_threads_that_spin_are_prevented_or_spoken_of(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variable is read when torch is loaded; later it changes nothing."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    shown = "import os, microturn.training; print(os.environ.get('OMP_WAIT_POLICY'))"
    late = f"import sys; sys.modules['torch'] = sys; {shown}"
    for script, policy in ((shown, "PASSIVE"), (late, "None")):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.stdout.strip() == policy, done.stderr
    module = module_of(data)
    module.on_train_start()
    assert "OMP_WAIT_POLICY=PASSIVE" in capsys.readouterr().err
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    module.on_train_start()
    assert capsys.readouterr().err == ""
