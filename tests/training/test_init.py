"""A run that starts from a checkpoint's weights: new data, new optimiser, step 0, warm-up."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from microturn.configs.load import load_config
from microturn.configs.main import FAILED, main
from microturn.datagen.sets.contents import read_contents
from microturn.datagen.sets.shards import ShardReader
from microturn.model.checkpoint import load_checkpoint, random_checkpoint, save_checkpoint
from microturn.model.checkpoint_place import find_checkpoint
from microturn.training.config import TrainingConfig
from microturn.training.start.init_weights import InitialWeights
from microturn.training.state import saved_states

Train = Callable[..., int]


def simulate(out: Path, *words: str) -> Path:
    fixed = ["n_dialogues=8", "n_micro_turns=20", "workers=1"]
    assert main(["simulate", "datagen/smoke.yaml", f"out={out}", *fixed, *words]) == 0
    return out


def log_of(out: Path) -> list[dict[str, float]]:
    with (out / "log" / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def weights_of(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "checkpoint" / "model.safetensors")


@pytest.fixture(scope="module")
def source(data: Path, train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run, to start others from."""
    out = tmp_path_factory.mktemp("source") / "run"
    assert train(data, out, "max_steps=4") == 0
    return out


def test_a_start_from_weights_has_a_new_step_optimiser_and_warm_up(
    source: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    start = (f"init={source}", "max_steps=4", "optim.warmup_steps=4", "optim.decay=0.01")
    assert train(data, tmp_path, *start, "log_steps=1") == 0
    rows = log_of(tmp_path)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [row["rate"] for row in rows] == [0.25, 0.5, 0.75, 1.0]
    state = load_file(saved_states(tmp_path)[-1])
    assert {int(v) for name, v in state.items() if name.startswith("optimiser/step/")} == {4}
    for name in ("mel_mean", "mel_std"):  # the voice is standardised as the source's was
        assert torch.equal(weights_of(tmp_path)[name], weights_of(source)[name])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_first_loss_on_other_data_is_the_last_of_the_source(
    tmp_path: Path, train: Train
) -> None:
    """Within 10 %, on dialogues of another seed; each of them is seen twice at most."""
    first = simulate(tmp_path / "first", "n_dialogues=192")
    second = simulate(tmp_path / "second", "n_dialogues=32", "seed=7")
    words = ("batch_size=32", "log_steps=1", "checkpoint_minutes=0")
    source, out = tmp_path / "source", tmp_path / "run"
    assert train(first, source, *words, "max_steps=12", "optim.decay=0.8") == 0
    assert train(second, out, *words, f"init={source}", "max_steps=1") == 0
    before, after = log_of(source), log_of(out)
    assert before[-1]["loss/loss"] < 0.6 * before[0]["loss/loss"]
    assert after[0]["loss/loss"] == pytest.approx(before[-1]["loss/loss"], rel=0.10)


def test_every_form_of_init_gives_the_same_weights(
    source: Path, data: Path, tmp_path: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub"
    hub = cache / "models--someone--small-talk"
    shutil.copytree(source / "checkpoint", hub / "snapshots" / ("0" * 40))
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    forms = (
        source,
        source / "checkpoint",
        source / "checkpoint" / "model.safetensors",
        saved_states(source)[-1],
        "someone/small-talk",
    )
    results = []
    for number, form in enumerate(forms):
        out = tmp_path / str(number)
        assert train(data, out, f"init={form}", "max_steps=1") == 0
        results.append((out / "checkpoint" / "model.safetensors").read_bytes())
    assert results == [results[0]] * len(forms)


def test_several_checkpoints_give_their_mean(
    source: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    """Weight by weight, and who was heard by either was heard by it."""
    other = simulate(tmp_path / "other", "seed=5")
    one, two, both = tmp_path / "one", tmp_path / "two", tmp_path / "both"
    still = ("optim.lr=0", "optim.muon_lr=0", "optim.warmup_steps=0", "model.moe.bias_speed=0")
    assert train(data, one, f"init={source}", "max_steps=3") == 0
    assert train(other, two, f"init={source}", "max_steps=2") == 0
    mean_of = f"init={one},{two / 'checkpoint'}"
    assert train(data, both, mean_of, "max_steps=1", *still) == 0
    first, second, mean = weights_of(one), weights_of(two), weights_of(both)
    assert any(not torch.equal(first[name], second[name]) for name in first)
    for name, value in mean.items():
        expected = (first[name].double() + second[name].double()) / 2
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-6)
    was_heard = [read_contents(run / "checkpoint") for run in (one, two)]
    joined = read_contents(both / "checkpoint")
    assert joined is not None
    assert all(each is not None and joined.united(each) == joined for each in was_heard)
    assert was_heard[0] != joined  # the other one has read one set more


def test_commas_alone_are_no_checkpoint() -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint folder, no file of one"):
        InitialWeights.read(",")


def test_checkpoints_of_other_kinds_have_no_mean(
    source: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path / "wide", "max_steps=1", "model.d_model=96") == 0
    capsys.readouterr()
    mean = f"init={source},{tmp_path / 'wide'}"
    words = ["train", "training/smoke.yaml", f"data={data}", f"out={tmp_path / 'run'}", mean]
    assert main(words) == FAILED
    said = capsys.readouterr().err
    assert "init= is to be a mean, but" in said
    assert "checkpoints that went on from the same one" in said


def test_a_name_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no checkpoint folder, no file of one"):
        find_checkpoint(str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no model.safetensors"):
        find_checkpoint(str(tmp_path / "empty"))


def test_a_name_that_the_hub_does_not_have_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="the hub gives no such model"):
        find_checkpoint("someone/nothing")


def test_a_folder_with_a_checkpoint_and_no_state_is_never_overwritten(
    source: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(source / "checkpoint", tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint" / "model.safetensors").read_bytes()
    for words in ((), ("resume=false",), (f"init={source}",)):
        assert train(data, tmp_path, *words) == FAILED
        said = capsys.readouterr().err.strip().splitlines()
        assert len(said) == 1
        assert "holds a checkpoint and no state to resume from" in said[0]
        assert f"init={tmp_path / 'checkpoint'}" in said[0]
    assert (tmp_path / "checkpoint" / "model.safetensors").read_bytes() == before


def test_sizes_that_are_not_given_come_from_the_checkpoint(
    source: Path, data: Path, tmp_path: Path
) -> None:
    """No file of sizes is given, and the default ones are others."""
    words = [f"data={data}", f"out={tmp_path}", f"init={source}", "max_steps=1", "threads=1"]
    more = ["batch_size=2", "loader_workers=0", "accelerator=cpu", "model.moe.z_loss=0.01"]
    assert main(["train", *words, *more]) == 0
    cfg = load_checkpoint(tmp_path / "checkpoint").model.cfg
    assert (cfg.d_model, cfg.moe.z_loss) == (48, 0.01)


def test_other_sizes_are_refused_by_key(
    source: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(data, tmp_path, f"init={source}", "model.d_model=64") == FAILED
    said = capsys.readouterr().err
    assert "model.d_model=64, 48 there" in said
    assert "leave these keys out" in said


def test_a_resumed_run_does_not_start_from_the_weights_again(
    source: Path, data: Path, tmp_path: Path, train: Train
) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    words = (f"init={source}", "max_steps=4", "optim.decay=0.01")
    assert train(data, straight, *words, "checkpoint_steps=2") == 0
    shutil.copytree(straight, stopped)
    saved_states(stopped)[-1].unlink()
    assert train(data, stopped, *words) == 0
    assert weights_of(stopped).keys() == weights_of(straight).keys()
    for name, value in weights_of(straight).items():
        assert torch.equal(weights_of(stopped)[name], value)


def test_starting_over_leaves_no_state_of_the_run_before(
    data: Path, tmp_path: Path, train: Train
) -> None:
    """Of an older run that went further; it would be what the next command goes on from."""
    assert train(data, tmp_path, "max_steps=5") == 0
    assert train(data, tmp_path, "max_steps=2", "resume=false") == 0
    assert [path.name for path in saved_states(tmp_path)] == ["step00000002.safetensors"]


# --- a model that grows -------------------------------------------------------------------------
def test_a_lane_is_added_to_a_trained_model(
    source: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    data = simulate(tmp_path / "set", "layout.video_rows=1", "layout.video_cols=2")
    assert train(data, tmp_path / "run", f"init={source}", "max_steps=1", "optim.muon_lr=0") == 0
    assert "lane video has 2 positions, 0 there" in capsys.readouterr().err
    before, after = weights_of(source), weights_of(tmp_path / "run")
    assert {name.split(".")[1] for name in after.keys() - before.keys()} == {"video"}
    for name, value in before.items():  # one step of warm-up moves nothing far
        assert (after[name] - value).abs().max() < 0.05, name


def test_a_vocoder_is_added_to_a_trained_model(
    source: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ("model.vocoder.kind=istft", "model.vocoder.width=16", "model.vocoder.layers=1")
    assert train(data, tmp_path, f"init={source}", "max_steps=1", *sizes) == 0
    assert "model.vocoder.kind=istft, griffin_lim there" in capsys.readouterr().err
    added = weights_of(tmp_path).keys() - weights_of(source).keys()
    assert added
    assert all(name.startswith("vocoder.") for name in added)


def test_a_wider_vocabulary_keeps_the_rows_of_its_old_pieces(
    data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows follow their piece of text, wherever the new tokenizer puts it."""
    smoke = load_config(TrainingConfig, ["training/smoke.yaml"], ["data=d", "out=o"])
    layout, words = ShardReader(data).layout, ("one", "two", "hello")
    small = random_checkpoint(layout=layout, config=smoke.model, words=words)
    save_checkpoint(tmp_path / "small", small.model, small.tokenizer)
    start = (f"init={tmp_path / 'small'}", "max_steps=1", "optim.lr=0", "optim.muon_lr=0")
    assert train(data, tmp_path / "run", *start) == 0
    assert "pieces of words are new" in capsys.readouterr().err
    after = load_checkpoint(tmp_path / "run" / "checkpoint")
    old, new = small.tokenizer.pieces, after.tokenizer.pieces
    kept = set(old) & set(new)
    assert len(kept) > 12
    assert len(new) > len(old)
    for table in ("embed.tokens.weight", "unembed.weight"):
        then, now = small.model.state_dict()[table], after.model.state_dict()[table]
        for piece in kept:
            assert torch.equal(then[old.index(piece)], now[new.index(piece)]), piece


def test_weights_of_another_kind_are_refused(
    source: Path, data: Path, tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(source / "checkpoint", tmp_path / "odd")
    weights = weights_of(source)
    weights.pop("unembed.weight")
    save_file(weights, tmp_path / "odd" / "model.safetensors")
    assert train(data, tmp_path / "run", f"init={tmp_path / 'odd'}") == FAILED
    assert "has no unembed.weight" in capsys.readouterr().err


def test_a_checkpoint_gets_a_stem_of_sound_that_changes_nothing_yet(
    source: Path,
    data: Path,
    tmp_path: Path,
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, words = tmp_path / "stem", ("model.audio_channels=[8,12,16]", "max_steps=1")
    still = ("optim.lr=0", "optim.muon_lr=0")
    assert train(data, out, f"init={source}", *words, *still) == 0
    assert "model.audio_channels=(8, 12, 16), () there" in capsys.readouterr().err
    own, before = weights_of(out), weights_of(source)
    assert not own["embed.dmel.stem.join.weight"].any()
    assert own["embed.dmel.stem.windows.0.weight"].any()
    moved = {name for name, weight in before.items() if not torch.equal(own[name], weight)}
    assert all(name.endswith(".selection_bias") for name in moved)  # balanced after every step
    # The way back would lose what the stem learnt.
    again = tmp_path / "again"
    assert train(data, again, f"init={out}", "model.audio_channels=[]", "max_steps=1") == FAILED
    assert "model.audio_channels=(), (8, 12, 16) there" in capsys.readouterr().err
