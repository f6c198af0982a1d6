"""Parts that `freeze=` names have the same bits after training; all others move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from microturn.configs.main import FAILED
from microturn.datagen.sets.shards import ShardReader
from microturn.model.checkpoint import random_checkpoint
from microturn.model.embed import marked_rows
from microturn.training.start.freeze import freeze

Train = Callable[..., int]
FLOW = ("flow.", "embed.patch.")
HEADS_OF_SOUND = ("embed.dmel.", "embed.late")


@pytest.fixture(scope="module")
def source(data: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("source") / "run"
    assert train(data, out, "max_steps=2") == 0
    return out


def changed(before: Path, after: Path) -> set[str]:
    one, other = (load_file(out / "checkpoint" / "model.safetensors") for out in (before, after))
    assert one.keys() == other.keys()
    return {name for name in one if not torch.equal(one[name], other[name])}


@pytest.mark.parametrize(
    ("names", "held"),
    [
        ("backbone", ("backbone.",)),
        ("layer.1", ("backbone.blocks.1.",)),
        ("layer.0..1", ("backbone.blocks.",)),
        ("audio_out", FLOW),
        ("audio_in,heard,say", (*HEADS_OF_SOUND, "unembed.")),
        ("text_in,heard,say", ("embed.tokens.", "unembed.")),
        ("embed,unembed", ("embed.", "unembed.")),
    ],
)
def test_frozen_parts_keep_their_bits_and_the_rest_moves(
    names: str, held: tuple[str, ...], source: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    """Selection biases are part of the backbone and its layers."""
    words = ("max_steps=4", "optim.weight_decay=0.1", "optim.warmup_steps=0")
    assert train(data, tmp_path, f"init={source}", f"freeze={names}", *words) == 0
    moved = changed(source, tmp_path)
    assert not [name for name in moved if name.startswith(held)]
    weights = load_file(source / "checkpoint" / "model.safetensors")
    # The statistics are measured once; no sound is missing in this set.
    rest = {name for name in weights if not name.startswith((*held, "mel_", "embed.late"))}
    assert rest == moved


def test_only_the_marks_of_a_frozen_lane_hold_still(
    source: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    """Marks of all lanes share one tensor."""
    words = ("max_steps=3", "optim.warmup_steps=0")
    assert train(data, tmp_path, f"init={source}", "freeze=heard", *words) == 0
    before, after = (
        load_file(out / "checkpoint" / "model.safetensors")["embed.lane"]
        for out in (source, tmp_path)
    )
    for lane, rows in marked_rows(ShardReader(data).layout).items():
        assert torch.equal(before[rows], after[rows]) == (lane == "heard"), lane


def test_a_stopped_run_with_frozen_parts_ends_as_one_that_was_not(
    source: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    words = (f"init={source}", "freeze=backbone,audio_in", "max_steps=4")
    assert train(data, tmp_path / "straight", *words, "checkpoint_steps=2") == 0
    (tmp_path / "straight" / "states").rename(tmp_path / "states")
    (tmp_path / "stopped" / "states").mkdir(parents=True)
    first = "step00000002.safetensors"
    (tmp_path / "states" / first).rename(tmp_path / "stopped" / "states" / first)
    assert train(data, tmp_path / "stopped", *words) == 0
    assert changed(tmp_path / "straight", tmp_path / "stopped") == set()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "backbones",
            "freeze=backbones is no lane, no module of the model and no layer.N; did you",
        ),
        ("layer.7", "freeze=layer.7: the backbone has the layers 0 to 1"),
        ("embed,backbone,unembed,flow", "leaves nothing to train"),
    ],
)
def test_a_name_that_freezes_nothing_or_all_is_refused(
    names: str,
    message: str,
    data: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(data, tmp_path, f"freeze={names}") == FAILED
    assert message in capsys.readouterr().err


def test_a_frozen_vocoder_leaves_the_rest_to_train() -> None:
    model = random_checkpoint().model
    assert freeze(model, ["vocoder"]) is None
    assert all(parameter.requires_grad for parameter in model.parameters())
