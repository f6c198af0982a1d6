"""Load a checkpoint folder as a batch of rows on a device."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from microturn.configs.devices import choose_device
from microturn.configs.load import load_config
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import load_checkpoint
from microturn.model.config import SHIPPED, ModelConfig


@dataclass(frozen=True, kw_only=True)
class _ModelFile:
    """The `model` section of a model's file."""

    model: ModelConfig = field(default_factory=ModelConfig, metadata={"help": "sizes"})


def shipped_model(file: str) -> ModelConfig:
    """Read the sizes of a model in `configs/`, such as `model/tiny.yaml`."""
    return load_config(_ModelFile, [file]).model


def device_name(device: torch.device) -> str:
    """Return the human-readable name of a device."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)} ({device})"
    n = torch.get_num_threads()
    return f"the CPU ({n} thread{'s' if n > 1 else ''})"


def load_rows(
    checkpoint: str,
    n_rows: int,
    *,
    seed: int,
    threads: int,
    device: str = "auto",
    rewind_s: float = 0.0,
) -> RowBatch:
    """Load a checkpoint folder, with rows that go back by `rewind_s`.

    Raises FileNotFoundError where there is none.
    """
    if not Path(checkpoint).is_dir():
        raise FileNotFoundError(
            f"{checkpoint}: no checkpoint here; `make demo` trains one, "
            f"or name a folder with checkpoint=DIR, or checkpoint={SHIPPED}"
        )
    loaded = load_checkpoint(checkpoint, device=choose_device(device))
    if threads:
        torch.set_num_threads(threads)
    rewind = loaded.layout.round_to_micro_turns(rewind_s)
    return RowBatch(loaded, n_rows, seed=seed, rewind=rewind)
