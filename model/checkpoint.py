"""A checkpoint folder: weights as safetensors, configuration, layout and tokenizer as text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from microturn.configs.files import replacing
from microturn.configs.load import load_config, save_config
from microturn.configs.reading import lines_of
from microturn.model.config import FlowConfig, ModelConfig, MoEConfig
from microturn.model.model import InteractionModel
from microturn.model.moe import MixtureOfExperts
from microturn.model.streams import StreamLayout, Tokenizer

WEIGHTS, CONFIG, LAYOUT, TOKENIZER = (
    "model.safetensors",
    "config.yaml",
    "layout.json",
    "tokenizer.json",
)


@dataclass(frozen=True)
class LoadedCheckpoint:
    """A model in evaluation mode with its layout and tokenizer."""

    model: InteractionModel
    layout: StreamLayout
    tokenizer: Tokenizer


def save_checkpoint(
    folder: str | Path,
    model: InteractionModel,
    tokenizer: Tokenizer,
    *,
    weights: Mapping[str, Tensor] | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write a complete folder, each file beside the old one and then in its place, weights last.

    weights: full tensors, where the model's own are sharded over devices. notes: more text files,
    by name; an empty text removes the file. Raises OSError, and leaves the weights that were there,
    where the disk does not take the new ones.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / CONFIG, lambda path: save_config(path, model.cfg))
    _replace(folder / LAYOUT, model.layout.save)
    _replace(folder / TOKENIZER, tokenizer.save)
    for name, text in (notes or {}).items():
        _write_note(folder / name, text)
    about = {"format": "microturn", "layout_hash": model.layout.hash}
    save_tensors(folder / WEIGHTS, weights or model.state_dict(), about)


def _write_note(path: Path, text: str) -> None:
    if text:
        _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    else:
        path.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write safetensors so that a kill or a full disk leaves the file that was there before.

    `about` goes into the header as JSON under one key: the same content gives the same bytes.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"microturn": json.dumps(about, sort_keys=True)}
    _replace(path, lambda temporary: save_file(plain, temporary, metadata=header))


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Put a new file in place of an old one when it is on the disk."""
    try:
        with replacing(path, durable=True) as temporary:
            write(temporary)
            temporary.chmod(0o644)  # safetensors makes files that only their owner may read
    except (SafetensorError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error).rpartition("error: ")[2]
        raise OSError(
            f"{path} cannot be written ({reason}); the version before it is intact"
        ) from error


def load_checkpoint(folder: str | Path, device: str = "cpu") -> LoadedCheckpoint:
    """Rebuild the model in evaluation mode.

    Raises FileNotFoundError when the folder is incomplete and ValueError when its weights do
    not fit its configuration.
    """
    folder = Path(folder)
    check_complete(folder)
    layout = StreamLayout.load(folder / LAYOUT)
    tokenizer = Tokenizer.load(folder / TOKENIZER)
    model = InteractionModel(load_config(ModelConfig, [folder / CONFIG]), layout, len(tokenizer))
    try:
        weights = load_file(folder / WEIGHTS)
        model.load_state_dict(weights)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS}: damaged weights file ({error})") from error
    except RuntimeError as error:
        reason = lines_of(str(error))[1].strip() if "\n" in str(error) else str(error)
        raise ValueError(f"{folder / WEIGHTS}: does not fit {folder / CONFIG}: {reason}") from error
    model = model.to(device).eval()
    if torch.device(device).type == "cuda":
        experts_to_(model, torch.bfloat16)
    return LoadedCheckpoint(model, layout, tokenizer)


def check_complete(folder: str | Path) -> None:
    """Raise FileNotFoundError when a file of a checkpoint is missing."""
    for name in (WEIGHTS, CONFIG, LAYOUT, TOKENIZER):
        if not (Path(folder) / name).is_file():
            raise FileNotFoundError(
                f"{folder}: no {name}, so this is no checkpoint folder; "
                "train one with `microturn train` or `make demo`"
            )


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


def describe(model: InteractionModel) -> dict[str, object]:
    """Collect sizes for logs and reports."""
    total = sum(p.numel() for p in model.parameters())
    idle = 0
    if model.cfg.moe.n_experts:
        per_expert = 3 * model.cfg.d_model * model.cfg.moe.d_expert
        idle = (model.cfg.moe.n_experts - model.cfg.moe.top_k) * per_expert
        idle *= model.cfg.n_layers - 1
    return {
        "parameters_total": total,
        "parameters_active": total - idle,
        "backbone": sum(p.numel() for p in model.backbone.parameters()),
        "config": json.loads(json.dumps(asdict(model.cfg))),
    }
