"""Blocks in front that find an agreed word again: made, not learnt; other weights stay."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from microturn.configs.main import FAILED, main
from microturn.model.batch import LaneBatch
from microturn.model.checkpoint import load_checkpoint, save_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.training.matching.match import N_BLOCKS, grown
from microturn.training.sources import open_source
from microturn.training.start.init_weights import InitialWeights

WIDE = ModelConfig(
    d_model=160,
    n_layers=2,
    n_heads=5,
    d_ff=64,
    window=128,
    moe=MoEConfig(n_experts=2, top_k=1, d_expert=16),
    flow=FlowConfig(width=32, depth=1),
)


@pytest.fixture(scope="module")
def agreements(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dialogues with agreements, in which every word is one token."""
    out = tmp_path_factory.mktemp("agreements") / "set"
    words = ["simulate", "datagen/demo.yaml", "datagen/ship_cues.yaml", f"out={out}", "workers=1"]
    assert main([*words, "n_dialogues=56", "layout.video_rows=0", "layout.video_cols=0"]) == 0
    return out


@pytest.fixture(scope="module")
def untrained(agreements: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("untrained"), agreements, WIDE)


def save(folder: Path, data: Path, config: ModelConfig) -> Path:
    source = open_source(str(data))
    torch.manual_seed(0)
    model = InteractionModel(config, source.layout, len(source.tokenizer))
    save_checkpoint(folder, model, source.tokenizer)
    return folder


def match(init: Path, data: Path, out: Path, *words: str) -> int:
    sizes = ("n_dialogues=40", "n_test=16", "threads=1")
    return main(["match", f"init={init}", f"data={data}", f"out={out}", *sizes, *words])


def test_blocks_that_write_nothing_change_nothing(untrained: Path, agreements: Path) -> None:
    before = load_checkpoint(untrained).model
    after = grown(InitialWeights.read(str(untrained)), seed=0).eval()
    batch = LaneBatch.collate([open_source(str(agreements)).lanes(0)])
    patches = before.patches(batch["audio_out"])
    with torch.no_grad():
        hidden, same = before(batch, patches), after(batch, patches)
    assert after.cfg.n_layers == before.cfg.n_layers + N_BLOCKS
    assert all(torch.equal(hidden[lane], same[lane]) for lane in hidden)


def test_an_agreed_word_is_found_again(
    untrained: Path, agreements: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By blocks that were made for an untrained model; chance tells half of the pairs apart."""
    words = [f"json={tmp_path}/found.json"]
    assert match(untrained, agreements, tmp_path / "a", *words) == 0
    assert match(untrained, agreements, tmp_path / "b") == 0
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["told_apart"] > 0.9
    assert found["cue"] > 0.6
    assert found["other"] < 0.3
    assert match(tmp_path / "a", agreements, tmp_path / "c") == FAILED
    assert "has 2 blocks of attention alone in front already" in capsys.readouterr().err
    files = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("a", "b")]
    assert files[0] == files[1]
    old = load_checkpoint(untrained).model.state_dict()
    new = load_checkpoint(tmp_path / "a").model.state_dict()
    for name, values in old.items():
        start, _, rest = name.partition("blocks.")
        block, _, tail = rest.partition(".")
        later = f"{start}blocks.{int(block) + N_BLOCKS}.{tail}" if start == "backbone." else name
        assert torch.equal(new[later], values), name


def test_what_cannot_be_matched_is_refused(
    untrained: Path, agreements: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert match(untrained, agreements, untrained) == FAILED
    assert "holds a checkpoint; give another out=" in capsys.readouterr().err
    assert match(untrained, agreements, tmp_path / "x", "means=two words") == FAILED
    assert "a match needs one of each" in capsys.readouterr().err
    assert match(untrained, agreements, tmp_path / "x", "means=hello") == FAILED
    assert "no agreement is heard" in capsys.readouterr().err
    narrow = save(tmp_path / "narrow", agreements, ModelConfig(d_model=48, n_layers=1, n_heads=3))
    assert match(narrow, agreements, tmp_path / "x") == FAILED
    assert "give a checkpoint with heads of 32 or more" in capsys.readouterr().err
