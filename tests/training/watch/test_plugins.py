"""Callbacks and loggers of Lightning and of others, given to the command by name."""

import csv
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from safetensors.torch import load_file

from microturn.training.state import saved_states
from microturn.training.watch.plugins import make_callbacks, make_logger

Train = Callable[..., int]
STOPPED = "EarlyStopping(monitor='loss/loss', check_on_train_epoch_end=False, patience=1)"


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_logger_of_lightning_has_the_losses_and_rates_of_the_run(
    data: Path, tmp_path: Path, train: Train
) -> None:
    words = ("max_steps=4", "log_steps=1", "logger=csv", "callbacks=[LearningRateMonitor]")
    assert train(data, tmp_path, *words) == 0
    (path,) = (tmp_path / "lightning").rglob("metrics.csv")
    rows, own = rows_of(path), rows_of(tmp_path / "log" / "metrics.csv")
    logged = [float(row["loss/loss"]) for row in rows if row["loss/loss"]]
    assert logged == pytest.approx([float(row["loss/loss"]) for row in own], rel=1e-4)
    assert any(row.get("rate/matrices") for row in rows)


def test_tensorboard_has_the_losses(data: Path, tmp_path: Path, train: Train) -> None:
    assert train(data, tmp_path, "max_steps=2", "log_steps=1", "logger=tensorboard") == 0
    (path,) = (tmp_path / "lightning").rglob("events.out.tfevents.*")
    assert b"loss/loss" in path.read_bytes()


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed")
def test_wandb_without_its_package_is_one_sentence(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, "max_steps=2", "logger=wandb") == 1
    error = capsys.readouterr().err
    assert "logger=wandb cannot be made: " in error
    assert "wandb" in error.partition("cannot be made: ")[2]
    assert "Traceback" not in error


def test_callbacks_change_no_weight_and_keep_a_checkpoint(
    data: Path, tmp_path: Path, train: Train
) -> None:
    keep = f"ModelCheckpoint(dirpath='{tmp_path}/kept', monitor='loss/loss', every_n_train_steps=1)"
    assert train(data, tmp_path / "with", "max_steps=3", f'callbacks=["{keep}"]') == 0
    assert train(data, tmp_path / "without", "max_steps=3") == 0
    assert len(list((tmp_path / "kept").glob("*.ckpt"))) == 1
    one, two = (saved_states(tmp_path / name)[-1] for name in ("with", "without"))
    assert all((load_file(one)[k] == v).all() for k, v in load_file(two).items())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["callbacks=[Nobody]"], "callbacks=Nobody: there is no class lightning.pytorch.callbacks"),
        (["callbacks=[nowhere.Nobody]"], "there is no class nowhere.Nobody"),
        (["callbacks=[pathlib.Path]"], "pathlib.Path is no Callback of Lightning"),
        (["callbacks=[EarlyStopping]"], "callbacks=EarlyStopping cannot be made:"),
        (["callbacks=[LearningRateMonitor]"], "Cannot use `LearningRateMonitor` callback"),
        (["logger=paper"], "logger=paper is none of csv, tensorboard, wandb and no path"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(
    data: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    said: str,
) -> None:
    assert train(data, tmp_path, "max_steps=2", *words) == 1
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_arguments_are_literals() -> None:
    (one,) = make_callbacks([STOPPED])
    assert one.patience == 1
    with pytest.raises(ValueError, match="is no class: write package.module.Class"):
        make_callbacks(["EarlyStopping(open('x'))"])
    assert make_logger("", Path("x")) is None
