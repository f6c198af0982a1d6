"""A checkpoint folder as a model, and back; its files are in checkpoint_files.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from microturn.model.checkpoint_files import StoredCheckpoint, said_words, write_checkpoint
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig, folder_of
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.stored.tensor_files import Stored
from microturn.model.stored.weights import Peers
from microturn.model.streams import StreamLayout, Tokenizer


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model in evaluation mode with its layout and tokenizer."""

    model: InteractionModel
    layout: StreamLayout
    tokenizer: Tokenizer

    @cached_property
    def said(self) -> frozenset[str] | None:
        """The words that the agent says in the training data; None: any, or nobody knows."""
        return said_words(self.model.notes or {})


def save_checkpoint(
    folder: str | Path,
    model: InteractionModel,
    tokenizer: Tokenizer,
    *,
    weights: Mapping[str, Tensor | Stored] | None = None,
    notes: Mapping[str, str] | None = None,
    saved: str = "",
    peers: Peers | None = None,
) -> None:
    """Write a complete folder, the weights last.

    weights: in place of the model's own. notes: more text files, by name; an empty text removes the
    file. saved, peers: of `write_weights`; all processes that hold shards call. Raises OSError, and
    leaves the weights that were there, where the disk does not take the new ones.
    """
    write_checkpoint(
        Path(folder),
        cfg=model.cfg,
        layout=model.layout,
        tokenizer=tokenizer,
        weights=weights or model.state_dict(),
        notes=notes or {},
        saved=saved,
        peers=peers,
    )


def load_checkpoint(folder: str | Path, device: str = "cpu") -> LoadedCheckpoint:
    """Rebuild the model of a folder, as `InteractionModel.from_pretrained` does, on a device.

    `shipped` is the one that comes with the package.
    """
    model = InteractionModel.from_stored(StoredCheckpoint.read(folder_of(str(folder)))).to(device)
    if torch.device(device).type == "cuda":
        experts_to_(model, torch.bfloat16)
    assert model.tokenizer is not None
    return LoadedCheckpoint(model, model.layout, model.tokenizer)


def experts_to_(model: InteractionModel, dtype: torch.dtype) -> None:
    """Convert the experts' weights for serving, which spends its time reading them."""
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.up.data = module.up.data.to(dtype)
            module.down.data = module.down.data.to(dtype)


TINY_LAYOUT = StreamLayout(
    audio_in_group=4, text_in_positions=1, heard_positions=1, say_positions=1, audio_out_group=4
)


def random_checkpoint(
    seed: int = 0,
    *,
    layout: StreamLayout = TINY_LAYOUT,
    config: ModelConfig | None = None,
    words: tuple[str, ...] = ("one", "two", "three", "plus", "hello"),
) -> LoadedCheckpoint:
    """Make an untrained model for tests and timings; no parameter is all zeros."""
    config = config or ModelConfig(
        d_model=48,
        n_layers=2,
        n_heads=4,
        d_ff=64,
        window=8,
        moe=MoEConfig(n_experts=4, d_expert=16),
        flow=FlowConfig(width=32, depth=2, steps=2),
    )
    tokenizer = Tokenizer.train([" ".join(words)] * 100, vocab_size=256)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = InteractionModel(config, layout, len(tokenizer))
        for parameter in model.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return LoadedCheckpoint(model.eval(), layout, tokenizer)
