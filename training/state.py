"""Saved states, from which a run resumes as if it had never stopped: one safetensors file each.

Weights and optimiser tensors are stored by the names of parameters, unsharded, so that a state
fits any number of devices; numbers stand in the header. Nothing is unpickled. Every random draw
(order of data, noise) is a function of seed and step, so the step stands for every generator.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from microturn.model.checkpoint_files import save_tensors
from microturn.training.process_group import full_tensor, shard_like
from microturn.training.start.bridge import Bridge
from microturn.training.start.run_identity import RunIdentity

FORMAT: Final = 1
FOLDER: Final = "states"
_NAME = re.compile(r"step(\d+)\.safetensors")
_MODEL, _OPTIMISER = "model/", "optimiser/"


@dataclass(frozen=True, kw_only=True)
class State:
    """A saved state; tensors on the CPU."""

    path: Path
    step: int
    trained_seconds: float
    run: RunIdentity
    weights: dict[str, Tensor]
    optimiser: dict[str, dict[str, Tensor]]  # by parameter name and key
    # Learning rates of the last step by group of the optimiser; empty: a former version.
    rates: dict[str, float] = field(default_factory=dict)
    bridge: Bridge | None = None

    def for_run(self, run: RunIdentity) -> State:
        """Return the state as `run` goes on from it: along a bridge to a schedule that is new."""
        if self.run.has_schedule_of(run) or not self.rates:
            return self
        return replace(self, bridge=Bridge(first_step=self.step, rates=self.rates))


def path_of(out: Path, step: int) -> Path:
    return out / FOLDER / f"step{step:08d}.safetensors"


def saved_states(out: Path) -> list[Path]:
    """List the states of a run folder, oldest first."""
    paths = [p for p in (out / FOLDER).glob("step*.safetensors") if _NAME.fullmatch(p.name)]
    return sorted(paths, key=lambda p: int(p.name[4:].partition(".")[0]))


def keep_last(out: Path, n: int) -> None:
    """Remove all but the last n states, and the unfinished files of killed runs."""
    for path in saved_states(out)[:-n]:
        path.unlink(missing_ok=True)
    for path in (out / FOLDER).glob(".step*.tmp"):
        path.unlink(missing_ok=True)


def gather(
    model: nn.Module, optimiser: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Collect full weights and optimiser tensors by name; a collective."""
    weights = {name: full_tensor(value).cpu() for name, value in model.state_dict().items()}
    optimiser_tensors: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        values = optimiser.state.get(parameter, {})
        optimiser_tensors[name] = {
            key: full_tensor(torch.as_tensor(value)).cpu() for key, value in values.items()
        }
    return weights, optimiser_tensors


def save(state: State) -> None:
    """Write a state in one file, or leave nothing; raises OSError."""
    tensors = {_MODEL + name: value for name, value in state.weights.items()}
    for name, values in state.optimiser.items():
        tensors |= {f"{_OPTIMISER}{key}/{name}": value for key, value in values.items()}
    header = {
        "format": FORMAT,
        "step": state.step,
        "trained_seconds": state.trained_seconds,
        "facts": asdict(state.run),
        "rates": state.rates,
        "bridge": state.bridge.to_json() if state.bridge else None,
    }
    save_tensors(state.path, tensors, header)


def load(path: Path) -> State:
    """Read a state; ValueError names a file that is damaged or no state."""
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["microturn"])
            if header.get("format") != FORMAT:
                raise KeyError(f"format {header.get('format')}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        run = RunIdentity(**header["facts"])
        step, seconds = int(header["step"]), float(header["trained_seconds"])
        bridge = Bridge.from_json(header["bridge"]) if header.get("bridge") else None
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
        run=run,
        weights=weights,
        optimiser=optimiser,
        rates=header.get("rates", {}),
        bridge=bridge,
    )


def restore_optimiser(state: State, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Give every parameter its optimiser tensors back, sharded as the parameter is."""
    for name, parameter in model.named_parameters():
        values = state.optimiser.get(name, {})
        optimiser.state[parameter] = {
            key: int(value) if value.dim() == 0 else _sharded(value, parameter)
            for key, value in values.items()
        }


def _sharded(value: Tensor, parameter: Tensor) -> Tensor:
    return shard_like(value.to(parameter.device), parameter)
