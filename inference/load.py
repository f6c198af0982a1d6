"""From a checkpoint folder to an engine that is ready to run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from microturn.configs.load import load_config
from microturn.inference.config import ServeConfig
from microturn.inference.rows import SessionBatch
from microturn.inference.serve.admission import Admission
from microturn.model.checkpoint import LoadedCheckpoint, load_checkpoint
from microturn.model.config import ModelConfig
from microturn.model.streams import StreamLayout, Tokenizer


@dataclass(frozen=True, kw_only=True)
class LoadedBatch:
    """A batch of session rows with what is needed to talk to it."""

    batch: SessionBatch
    layout: StreamLayout
    tokenizer: Tokenizer

    @property
    def runs_on(self) -> str:
        """What computes, as a person calls it."""
        device = self.batch.device
        if device.type == "cuda":
            return f"{torch.cuda.get_device_name(device)} ({device})"
        n = torch.get_num_threads()
        return f"the CPU ({n} thread{'s' if n > 1 else ''})"


@dataclass(frozen=True, kw_only=True)
class _ModelFile:
    """The part of a model's file that is read here."""

    model: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "sizes"})


def shipped_model(file: str) -> ModelConfig:
    """Sizes of a model in `configs/`: `model/tiny.yaml`."""
    return load_config(_ModelFile, [file]).model


def chosen_device(name: str) -> str:
    """`auto` is a GPU where there is one; raises ValueError for a device that is not there."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name} is no device; say cpu, cuda, cuda:0 or auto") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name}, but PyTorch finds no GPU here; say cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name}, but there are {torch.cuda.device_count()} GPUs")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name} does not serve; say cpu, cuda, cuda:0 or auto")
    return name


def load_batch(
    checkpoint: str, *, n_slots: int, seed: int, threads: int, device: str = "auto"
) -> LoadedBatch:
    """Read a checkpoint folder; says where to get one when there is none."""
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(
            f"{checkpoint}: no checkpoint here; `make demo` trains one, "
            "or name a folder with checkpoint=DIR"
        )
    loaded = load_checkpoint(checkpoint, device=chosen_device(device))
    return batch_of(loaded, n_slots=n_slots, seed=seed, threads=threads)


def batch_of(loaded: LoadedCheckpoint, *, n_slots: int, seed: int, threads: int = 0) -> LoadedBatch:
    """Rows for a model that is in memory already."""
    if threads:
        torch.set_num_threads(threads)
    batch = SessionBatch(loaded, n_slots, seed=seed)
    return LoadedBatch(batch=batch, layout=loaded.layout, tokenizer=loaded.tokenizer)


def measured(batch: SessionBatch, config: ServeConfig) -> Admission | None:
    """Times every number of conversations in turn; None when nobody is to be refused.

    All rows are fresh afterwards.
    """
    if not config.admit_share:
        return None
    layout = batch.layout
    admission = Admission(micro_turn_ms=layout.micro_turn_ms, share=config.admit_share)
    # Noise at about the level of speech: digital silence would be cheaper than a conversation.
    noise = 0.05 * np.random.default_rng(0).standard_normal(
        (batch.batch_size, layout.samples_per_micro_turn)
    )
    audio, index = noise.astype(np.float32), np.arange(batch.batch_size)
    if config.calibrate:
        admission.calibrate(
            lambda n: batch.append(audio, active=index < n),
            batch.batch_size,
            micro_turns=config.calibrate,
        )
    for row in range(batch.batch_size):
        batch.reset(row)
    return admission
