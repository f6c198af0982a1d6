"""Training as a Lightning user's own script does it: the same weights, the same refusals."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import load_file

from microturn.configs.main import main
from microturn.training import TrainingConfig, build_run, config_of, trainer_arguments
from microturn.training.optim import rate

QUIET: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
SMOKE = ["training/smoke.yaml"]


@pytest.fixture(autouse=True)
def _lightning_advice_is_no_error(recwarn: pytest.WarningsRecorder) -> None:
    """Lightning advises about loaders and loggers; the tests look at results."""
    import warnings

    warnings.filterwarnings("ignore", module="lightning.*")


def words(data: Path, out: Path, *more: str) -> list[str]:
    return [f"data={data}", f"out={out}", "accelerator=cpu", "threads=1", *more]


def config(data: Path, out: Path, *more: str) -> TrainingConfig:
    return config_of([*SMOKE, *words(data, out, *more)])


def fit(cfg: TrainingConfig, *, ckpt: Path | None = None, **arguments: Any) -> L.Trainer:
    module, data = build_run(cfg)
    trainer = L.Trainer(**{**trainer_arguments(cfg), "logger": False, **QUIET, **arguments})
    trainer.fit(module, data, ckpt_path=str(ckpt) if ckpt else None, weights_only=True)
    return trainer


def weights_of(trainer: L.Trainer) -> dict[str, torch.Tensor]:
    module = trainer.lightning_module
    return {name: value.clone() for name, value in module.model.state_dict().items()}


@pytest.fixture(scope="module")
def straight(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights of `microturn train`, eight steps of two micro-batches, not interrupted."""
    out = tmp_path_factory.mktemp("straight")
    more = ["max_steps=8", "accumulate=2"]
    assert main(["train", *SMOKE, *words(data, out, *more)]) == 0
    return load_file(out / "checkpoint" / "model.safetensors")


@pytest.mark.parametrize("stop_after", ["step", "micro-batch"])
def test_a_script_that_resumes_ends_with_the_weights_of_the_command(
    stop_after: str, data: Path, tmp_path: Path, straight: dict[str, torch.Tensor]
) -> None:
    """Lightning's checkpoint brings back step, rate, data and noise, at any micro-batch."""
    validation = [f"validate.data={data}", "validate.every_steps=2", "validate.n_dialogues=3"]
    cfg = config(data, tmp_path, "max_steps=8", "accumulate=2", *validation)
    path = tmp_path / "last.ckpt"

    class Save(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == (6 if by_step else 7):
                trainer.save_checkpoint(path)
                trainer.should_stop = True

    by_step = stop_after == "step"
    fit(cfg, callbacks=[Save()], enable_checkpointing=False)
    trainer = fit(cfg, ckpt=path, enable_checkpointing=False)
    assert trainer.global_step == 8
    assert float(trainer.callback_metrics["validate/own_heard/say"]) > 0
    got = weights_of(trainer)
    assert got.keys() == straight.keys()
    assert not [name for name in got if not torch.equal(got[name], straight[name])]


def test_a_script_that_starts_from_weights_takes_their_sizes(data: Path, tmp_path: Path) -> None:
    """As the command does: no file gives the sizes here, and the defaults are others."""
    first, _ = build_run(config(data, tmp_path, "max_steps=1"))
    first.model.save_pretrained(tmp_path / "first")
    cfg = config_of([*words(data, tmp_path / "out", "max_steps=1"), f"init={tmp_path / 'first'}"])
    assert cfg.model == first.model.cfg
    second, _ = build_run(cfg)
    for name, value in first.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name
    assert second.model.notes == first.model.notes


def test_losses_and_rates_are_logged_for_every_step_also_after_resuming(
    data: Path, tmp_path: Path
) -> None:
    cfg = config(data, tmp_path, "max_steps=6", "accumulate=2", "log_steps=1")
    saver = ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=4, save_top_k=-1)
    monitor = LearningRateMonitor()
    logger = CSVLogger(tmp_path, name="own", version="a")
    fit(cfg, logger=logger, callbacks=[saver, monitor])
    (path,) = (tmp_path / "ckpt").glob("*step=4.ckpt")
    again = CSVLogger(tmp_path, name="own", version="b")
    fit(cfg, ckpt=path, logger=again, callbacks=[LearningRateMonitor()])
    whole, rest = (rows_of(tmp_path / "own" / version) for version in "ab")
    assert list(whole) == list(range(6))
    assert list(rest) == [4, 5]
    for step, row in rest.items():
        assert row == whole[step]
    for step, row in whole.items():
        share = rate(step, step / 6, cfg.optim)
        assert float(row["rate/matrices"]) == pytest.approx(share * cfg.optim.muon_lr)
        assert float(row["rate/tables"]) == pytest.approx(share * cfg.optim.lr)
        assert float(row["rate/vectors"]) == pytest.approx(share * cfg.optim.lr)
        assert float(row["rate"]) == pytest.approx(share)
        parts = [float(row[f"loss/{name}"]) for name in ("heard", "say", "flow", "z")]
        assert float(row["loss/loss"]) == pytest.approx(sum(parts), rel=1e-5)


def rows_of(folder: Path) -> dict[int, dict[str, str]]:
    """Rows of Lightning's CSV by step, what several lines say of one step together."""
    rows: dict[int, dict[str, str]] = {}
    with (folder / "metrics.csv").open() as file:
        for row in csv.DictReader(file):
            values = {name: value for name, value in row.items() if value}
            rows.setdefault(int(row["step"]), {}).update(values)
    return rows


def test_a_checkpoint_and_an_early_stop_follow_a_named_metric(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "max_steps=6")
    best = ModelCheckpoint(tmp_path, monitor="loss/loss", every_n_train_steps=1)
    assert fit(cfg, callbacks=[best]).global_step == 6
    assert Path(best.best_model_path).is_file()
    assert float(best.best_model_score) > 0  # type: ignore[arg-type]

    class StopEachStep(EarlyStopping):
        def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
            self._run_early_stopping_check(trainer)

    early = StopEachStep("gradient", mode="max", stopping_threshold=0.0)
    assert fit(cfg, callbacks=[early], enable_checkpointing=False).global_step == 1


def test_lightnings_early_stop_follows_a_validation_loss(data: Path, tmp_path: Path) -> None:
    """Validated after steps 2 and 4; the second is no better by `min_delta`."""
    validation = [f"validate.data={data}", "validate.every_steps=2", "validate.n_dialogues=2"]
    cfg = config(data, tmp_path, "max_steps=8", *validation)
    early = EarlyStopping("validate/own_heard/loss", min_delta=50.0, patience=1)
    best = ModelCheckpoint(tmp_path, monitor="validate/own_heard/loss")
    assert fit(cfg, callbacks=[early, best]).global_step == 4
    assert early.stopped_epoch == 0
    assert float(early.best_score) > 0
    assert Path(best.best_model_path).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accumulate_grad_batches": 2}, "accumulate_grad_batches=2.*contradicts accumulate=1"),
        ({"gradient_clip_val": 1e-6}, "gradient_clip_val=1e-06.*contradicts optim.clip=1.0"),
        (
            {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"},
            "gradient_clip_algorithm=.*contradicts optim.clip",
        ),
        ({"max_steps": 7}, "max_steps=7.*goes beyond max_steps=6"),
        ({"strategy": DDPStrategy()}, "counts of experts"),
    ],
)
def test_a_trainer_that_contradicts_the_configuration_is_refused(
    arguments: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    from microturn.training.agreement import check_trainer

    cfg = config(data, tmp_path)
    trainer = L.Trainer(**{**trainer_arguments(cfg), **QUIET, "logger": False, **arguments})
    with pytest.raises(ValueError, match=message):
        check_trainer(trainer, cfg)


def test_a_trainer_that_cannot_share_weights_is_refused(data: Path, tmp_path: Path) -> None:
    from microturn.training.agreement import check_trainer

    cfg = config(data, tmp_path, "devices=2", "batch_size=2", "parallel.shard=2")
    trainer = L.Trainer(**{**trainer_arguments(config(data, tmp_path)), **QUIET, "logger": False})
    with pytest.raises(ValueError, match="keeps whole weights on each device.*parallel.shard"):
        check_trainer(trainer, cfg)


def test_the_trainers_own_clip_is_allowed_where_it_says_the_same(
    data: Path, tmp_path: Path
) -> None:
    cfg = config(data, tmp_path, "max_steps=1")
    trainer = fit(cfg, gradient_clip_val=cfg.optim.clip, enable_checkpointing=False)
    assert trainer.global_step == 1


def test_accumulation_that_changes_on_the_way_is_refused(data: Path, tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import GradientAccumulationScheduler

    scheduler = GradientAccumulationScheduler({0: 2})
    with pytest.raises(ValueError, match="no step after 1 micro-batches.*after accumulate=1"):
        fit(config(data, tmp_path), callbacks=[scheduler], enable_checkpointing=False)


def test_a_checkpoint_of_another_run_is_refused(data: Path, tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    trainer = fit(config(data, tmp_path, "max_steps=1"), enable_checkpointing=False)
    trainer.save_checkpoint(path)
    with pytest.raises(ValueError, match="of another run \\(max_steps 1 there, 3 here\\)"):
        fit(config(data, tmp_path, "max_steps=3"), ckpt=path)
    content = torch.load(path, weights_only=True)
    torch.save({k: v for k, v in content.items() if k != "microturn"}, path)
    with pytest.raises(ValueError, match="TrainingModule did not write it"):
        fit(config(data, tmp_path, "max_steps=1"), ckpt=path)


def test_a_second_fit_with_a_used_module_is_refused(data: Path, tmp_path: Path) -> None:
    cfg = config(data, tmp_path, "max_steps=2")
    module, batches = build_run(cfg)
    arguments = {**trainer_arguments(cfg), **QUIET, "logger": False, "max_steps": 1}
    L.Trainer(**arguments, enable_checkpointing=False).fit(module, batches)
    with pytest.raises(ValueError, match="data goes on at step 0 and the module at step 1"):
        L.Trainer(**arguments, enable_checkpointing=False).fit(module, batches)


def test_the_script_of_the_page_trains_and_goes_on(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    script = page.partition("```python\n")[2].partition("```")[0]
    assert len([line for line in script.splitlines() if line.strip()]) <= 30
    small = script.replace("training/tiny.yaml", "training/smoke.yaml").replace(
        "every_n_train_steps=50", "every_n_train_steps=3"
    )
    monkeypatch.setattr("sys.argv", ["job.py", *words(data, tmp_path, "max_steps=4")])
    for _ in range(2):  # the second time it goes on from the last checkpoint
        exec(compile(small, "job.py", "exec"), {})
    assert main(["train", *SMOKE, *words(data, tmp_path / "command", "max_steps=4")]) == 0
    weights = [
        load_file(folder / "checkpoint" / "model.safetensors")
        for folder in (tmp_path, tmp_path / "command")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
