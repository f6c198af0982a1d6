"""From a checkpoint folder to an engine that is ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from microturn.inference.session import SessionBatch
from microturn.model.checkpoint import LoadedCheckpoint, load_checkpoint
from microturn.model.streams import StreamLayout, Tokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedBatch:
    """A batch of session rows with what is needed to talk to it."""

    batch: SessionBatch
    layout: StreamLayout
    tokenizer: Tokenizer


def load_batch(checkpoint: str, *, n_slots: int, seed: int, threads: int) -> LoadedBatch:
    """Read a checkpoint folder; says where to get one when there is none."""
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(
            f"{checkpoint}: no checkpoint here; `make demo` trains one, "
            "or name a folder with checkpoint=DIR"
        )
    return batch_of(load_checkpoint(checkpoint), n_slots=n_slots, seed=seed, threads=threads)


def batch_of(loaded: LoadedCheckpoint, *, n_slots: int, seed: int, threads: int = 0) -> LoadedBatch:
    """Rows for a model that is in memory already."""
    if threads:
        torch.set_num_threads(threads)
    batch = SessionBatch(loaded, n_slots, seed=seed)
    return LoadedBatch(batch=batch, layout=loaded.layout, tokenizer=loaded.tokenizer)
