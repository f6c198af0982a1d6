"""Load a checkpoint folder as a batch of rows on a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from microturn.configs.load import load_config
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import load_checkpoint
from microturn.model.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class _ModelFile:
    """The `model` section of a model's file."""

    model: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "sizes"})


def shipped_model(file: str) -> ModelConfig:
    """Read the sizes of a model in `configs/`, such as `model/tiny.yaml`."""
    return load_config(_ModelFile, [file]).model


def chosen_device(name: str) -> str:
    """Resolve `auto` to a GPU where there is one; raises ValueError for an absent device."""
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


def device_name(device: torch.device) -> str:
    """Return the human-readable name of a device."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    n = torch.get_num_threads()
    return f"the CPU ({n} thread{'s' if n > 1 else ''})"


def load_rows(
    checkpoint: str, n_rows: int, *, seed: int, threads: int, device: str = "auto"
) -> RowBatch:
    """Load a checkpoint folder; raises FileNotFoundError where there is none."""
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(
            f"{checkpoint}: no checkpoint here; `make demo` trains one, "
            "or name a folder with checkpoint=DIR"
        )
    loaded = load_checkpoint(checkpoint, device=chosen_device(device))
    if threads:
        torch.set_num_threads(threads)
    return RowBatch(loaded, n_rows, seed=seed)
