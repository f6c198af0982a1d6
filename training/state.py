"""What a run needs to go on as if it had never stopped: one safetensors file per saved state.

Weights and optimiser tensors are stored by the names of parameters, whole, so that a state fits
any number of devices; numbers stand in the header. Nothing is unpickled. What is drawn at random
(order of data, noise) is a function of seed and step, so the step stands for every generator.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from microturn.model.checkpoint import save_tensors
from microturn.model.config import ModelConfig
from microturn.model.streams import StreamLayout, Tokenizer
from microturn.training.process_group import spread_like, whole

FORMAT: Final = 1
FOLDER: Final = "states"
_NAME = re.compile(r"step(\d+)\.safetensors")
_MODEL, _OPTIMISER = "model/", "optimiser/"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What two runs must share for one to go on from the other, and what they had better share."""

    model: dict[str, Any]
    layout: str
    words: str  # digest of the tokenizer
    seed: int
    batch_size: int

    @classmethod
    def of(
        cls,
        model: ModelConfig,
        layout: StreamLayout,
        tokenizer: Tokenizer,
        *,
        seed: int,
        batch_size: int,
    ) -> Facts:
        return cls(
            model=json.loads(json.dumps(asdict(model))),
            layout=layout.hash,
            words=_digest(tokenizer),
            seed=seed,
            batch_size=batch_size,
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """A saved state; tensors on the CPU."""

    path: Path
    step: int
    trained_seconds: float
    facts: Facts
    weights: dict[str, Tensor]
    optimiser: dict[str, dict[str, Tensor]]  # by parameter name and key

    def check_fits(self, facts: Facts) -> list[str]:
        """Raise ValueError where this run is of another size; returns what else differs."""
        way_out = "give it another out= or resume=false"
        wrong = [
            f"model.{key}={then} there, {now} here"
            for key, then, now in _differences(self.facts.model, facts.model)
        ]
        if wrong:
            raise ValueError(f"{self.path} is of another model ({'; '.join(wrong)}); {way_out}")
        for name, what in (("layout", "stream layout"), ("words", "tokenizer")):
            if getattr(self.facts, name) != getattr(facts, name):
                raise ValueError(
                    f"{self.path} was trained on shards with another {what}; {way_out}"
                )
        return [
            f"{name}={getattr(self.facts, name)} there, {getattr(facts, name)} here"
            for name in ("seed", "batch_size")
            if getattr(self.facts, name) != getattr(facts, name)
        ]


def path_of(out: Path, step: int) -> Path:
    return out / FOLDER / f"step{step:08d}.safetensors"


def saved_states(out: Path) -> list[Path]:
    """The states of a run folder, oldest first."""
    found = [p for p in (out / FOLDER).glob("step*.safetensors") if _NAME.fullmatch(p.name)]
    return sorted(found, key=lambda p: int(p.name[4:].partition(".")[0]))


def keep_last(out: Path, n: int) -> None:
    """Remove all but the last n states, and what killed runs left half written."""
    for path in saved_states(out)[:-n]:
        path.unlink(missing_ok=True)
    for path in (out / FOLDER).glob(".step*.tmp"):
        path.unlink(missing_ok=True)


def gather(
    model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Whole weights and optimiser tensors by name; every process has to call this."""
    weights = {name: whole(value).cpu() for name, value in model.state_dict().items()}
    kept: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        values = optimiser.state.get(parameter, {})
        kept[name] = {key: whole(torch.as_tensor(value)).cpu() for key, value in values.items()}
    return weights, kept


def save(state: State) -> None:
    """Write a state in one file, or leave nothing; raises OSError."""
    tensors = {_MODEL + name: value for name, value in state.weights.items()}
    for name, values in state.optimiser.items():
        tensors |= {f"{_OPTIMISER}{key}/{name}": value for key, value in values.items()}
    about = {
        "format": FORMAT,
        "step": state.step,
        "trained_seconds": state.trained_seconds,
        "facts": asdict(state.facts),
    }
    save_tensors(state.path, tensors, about)


def load(path: Path) -> State:
    """Read a state; ValueError names the file where it is damaged or no state."""
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["microturn"])
            if about.get("format") != FORMAT:
                raise KeyError(f"format {about.get('format')}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        facts = Facts(**about["facts"])
        step, seconds = int(about["step"]), float(about["trained_seconds"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); delete it to go on from "
            "the state before it, or give resume=false"
        ) from error
    optimiser: dict[str, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        if full.startswith(_OPTIMISER):
            key, _, name = full.removeprefix(_OPTIMISER).partition("/")
            optimiser.setdefault(name, {})[key] = value
    weights = {n.removeprefix(_MODEL): v for n, v in tensors.items() if n.startswith(_MODEL)}
    return State(
        path=path,
        step=step,
        trained_seconds=seconds,
        facts=facts,
        weights=weights,
        optimiser=optimiser,
    )


def restore_optimiser(state: State, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Give every parameter its optimiser tensors back, spread as the parameter is."""
    for name, parameter in model.named_parameters():
        values = state.optimiser.get(name, {})
        optimiser.state[parameter] = {
            key: int(value) if value.dim() == 0 else _placed(value, parameter)
            for key, value in values.items()
        }


def _digest(tokenizer: Tokenizer) -> str:
    with TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return sha256((Path(folder) / "tokenizer.json").read_bytes()).hexdigest()


def _placed(value: Tensor, parameter: Tensor) -> Tensor:
    return spread_like(value.to(parameter.device), parameter)


def _differences(
    then: Mapping[str, Any], now: Mapping[str, Any], prefix: str = ""
) -> list[tuple[str, Any, Any]]:
    """Of keys that both have: a key of another version has a default that changes nothing."""
    found: list[tuple[str, Any, Any]] = []
    for key in sorted(then.keys() & now.keys()):
        a, b = then[key], now[key]
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found.append((f"{prefix}{key}", a, b))
    return found
