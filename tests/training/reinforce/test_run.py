"""Runs of `microturn reinforce`: they end, resume with the same bits, and refuse what is wrong."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file

from microturn.configs.load import load_config
from microturn.configs.main import FAILED, WRONG_USAGE, main
from microturn.model.checkpoint import load_checkpoint
from microturn.training.reinforce.config import ReinforceConfig
from microturn.training.reinforce.run import reinforce
from microturn.training.state import load, saved_states

Words = Callable[..., list[str]]
RUN = ("max_steps=6", "checkpoint_steps=2", "checkpoint_minutes=0", "optim.lr=0.01")


@pytest.fixture(scope="module")
def straight(words: Words, tmp_path_factory: pytest.TempPathFactory, data: Path) -> Path:
    out = tmp_path_factory.mktemp("straight") / "run"
    more = [f"held_out.environment={data}", "held_out.n_dialogues=2", "held_out.every_steps=4"]
    assert main(["reinforce", *words(out, *RUN, *more)]) == 0
    return out


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = (load_file(saved_states(out)[-1]) for out in (one, other))
    assert a.keys() == b.keys()
    assert not [name for name in a if not torch.equal(a[name], b[name])]


class Kill(Callback):
    """Ends the run inside an optimiser step, as a kill does, or asks it to end."""

    def __init__(self, step: int, number: int | None = None) -> None:
        self.step, self.number = step, number

    def on_before_zero_grad(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.global_step == self.step:
            if self.number is None:
                raise RuntimeError("killed")
            signal.raise_signal(self.number)


@pytest.mark.parametrize(
    ("watch", "error", "step"),
    [
        (Kill(3), RuntimeError, 2),
        (Kill(3, signal.SIGINT), KeyboardInterrupt, 4),
    ],
    ids=["kill", "ctrl-c"],
)
def test_stopped_inside_a_rollout_and_resumed_is_never_stopped(
    words: Words,
    straight: Path,
    tmp_path: Path,
    watch: Kill,
    error: type[BaseException],
    step: int,
) -> None:
    line = words(tmp_path / "run", *RUN)
    with pytest.raises(error):
        reinforce(load_config(ReinforceConfig, [], line), watch=watch)
    assert load(saved_states(tmp_path / "run")[-1]).step == step
    assert main(["reinforce", *line]) == 0
    assert_same_weights(straight, tmp_path / "run")


def test_it_changes_what_the_checkpoint_says_and_keeps_its_form(
    straight: Path, checkpoint: Path
) -> None:
    before, after = load_checkpoint(checkpoint), load_checkpoint(straight / "checkpoint")
    assert after.layout == before.layout
    assert after.tokenizer.pieces == before.tokenizer.pieces
    assert not torch.equal(after.model.unembed.weight, before.model.unembed.weight)


def test_the_log_has_rewards_and_the_divergence(straight: Path) -> None:
    header = (straight / "log" / "metrics.csv").read_text().partition("\n")[0].split(",")
    names = {"reward", "slip_share", "loss/policy", "loss/kl", "loss/entropy", "loss/clipped"}
    assert names | {"loss/heard", "loss/say", "loss/flow", "reward/turn"} <= set(header)


def test_held_out_conversations_are_held_before_meanwhile_and_after(straight: Path) -> None:
    lines = (straight / "held_out" / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 4, 6]
    assert "tau_voice/response_rate" in json.loads(lines[-1])
    for step in (0, 4, 6):
        assert (straight / "held_out" / f"step{step:06d}.png").stat().st_size > 0
        assert (straight / "held_out" / f"step{step:06d}.wav").stat().st_size > 0


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("max_steps=5", "max_steps=5 must be a multiple of rollout.updates=2"),
        ("supervised_share=1", "supervised_share=1 must lie in [0, 1)"),
        ("reward.credit=token", "reward.credit=token is none of event, dialogue"),
        ("reward.missed=2", "reward.missed=2, and that at most reward.right=1"),
        ("rollout.n_samples=1", "rollout.n_samples=1 must be at least 2"),
    ],
)
def test_wrong_values_are_refused(
    words: Words, tmp_path: Path, word: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reinforce", *words(tmp_path / "run", word)]) in (FAILED, WRONG_USAGE)
    assert message in capsys.readouterr().err


def test_other_words_are_refused(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = [
        "simulate",
        "datagen/smoke.yaml",
        "n_dialogues=1",
        "workers=1",
        "tokenizer.vocab_size=300",
    ]
    assert main([*other, f"out={tmp_path / 'set'}"]) == 0
    line = words(tmp_path / "run", f"environment={tmp_path / 'set'}")
    assert main(["reinforce", *line]) == FAILED
    assert "environment has another tokenizer than checkpoint=" in capsys.readouterr().err
