"""Saved states, from which a run resumes as if it had never stopped: safetensors, never unpickled.

Weights and optimiser tensors are stored by the names of parameters with their whole shape, so that
a state fits any number of devices and any layout; numbers stand beside them as JSON. Nothing is
unpickled. Every random draw (order of data, noise) is a function of seed and step, so the step
stands for every generator, and for the place in the data.

One process, or several that have copies of the model, write `stepN.safetensors`; processes that
share its weights write the folder `stepN` (training/sharding/state_folder.py), nothing gathered.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from microturn.model.checkpoint_files import save_tensors
from microturn.model.stored.tensor_files import Stored, read_header
from microturn.model.stored.weights import MisfitError, check_fits, region_of
from microturn.training.sharding.state_folder import is_whole, read_folder
from microturn.training.start.bridge import Bridge
from microturn.training.start.run_identity import RunIdentity

FORMAT: Final = 1
FOLDER: Final = "states"
_NAME = re.compile(r"step(\d+)(\.safetensors)?")
_MODEL, _OPTIMISER = "model/", "optimiser/"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a state says about its run beside tensors."""

    step: int
    trained_seconds: float
    run: RunIdentity
    # Learning rates of the last step by group of the optimiser; empty: a former version.
    rates: dict[str, float] = field(default_factory=dict)
    bridge: Bridge | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "step": self.step,
            "trained_seconds": self.trained_seconds,
            "facts": asdict(self.run),
            "rates": self.rates,
            "bridge": self.bridge.to_json() if self.bridge else None,
        }

    @classmethod
    def from_json(cls, header: Mapping[str, Any]) -> Facts:
        """Read them; KeyError, TypeError or ValueError where they are of another form."""
        if header.get("format") != FORMAT:
            raise KeyError(f"format {header.get('format')}")
        return cls(
            step=int(header["step"]),
            trained_seconds=float(header["trained_seconds"]),
            run=RunIdentity(**header["facts"]),
            rates=header.get("rates", {}),
            bridge=Bridge.from_json(header["bridge"]) if header.get("bridge") else None,
        )


@dataclass(frozen=True, kw_only=True)
class State:
    """A saved state; its tensors are read where they go."""

    path: Path
    facts: Facts
    tensors: Mapping[str, Stored]

    @property
    def step(self) -> int:
        return self.facts.step

    @cached_property
    def weights(self) -> dict[str, Stored]:
        """Weights and buffers by name."""
        stored = self.tensors.items()
        return {n.removeprefix(_MODEL): each for n, each in stored if n.startswith(_MODEL)}

    @cached_property
    def optimiser(self) -> dict[str, dict[str, Stored]]:
        """Tensors of the optimiser by parameter name and key."""
        found: dict[str, dict[str, Stored]] = {}
        for full, each in self.tensors.items():
            if full.startswith(_OPTIMISER):
                key, _, name = full.removeprefix(_OPTIMISER).partition("/")
                found.setdefault(name, {})[key] = each
        return found

    def for_run(self, run: RunIdentity) -> State:
        """Return the state as `run` goes on from it: along a bridge to a schedule that is new."""
        facts = self.facts
        if facts.run.has_schedule_of(run) or not facts.rates:
            return self
        bridge = Bridge(first_step=facts.step, rates=facts.rates)
        return replace(self, facts=replace(facts, bridge=bridge))


def path_of(out: Path, step: int) -> Path:
    """Name the file of a state; without the suffix it is the folder of one in pieces."""
    return out / FOLDER / f"step{step:08d}.safetensors"


def saved_states(out: Path) -> list[Path]:
    """List the states of a run folder, oldest first; those that are unfinished are none."""
    found = [path for path in _named_as_states(out) if path.is_file() or is_whole(path)]
    return sorted(found, key=lambda path: (int(path.stem[4:]), path.stat().st_mtime_ns))


def unfinished_states(out: Path) -> list[Path]:
    """List folders that are named as states and lack what is written last."""
    return [path for path in _named_as_states(out) if path.is_dir() and not is_whole(path)]


def _named_as_states(out: Path) -> Iterator[Path]:
    for path in (out / FOLDER).glob("step*"):
        if _NAME.fullmatch(path.name):
            yield path


def keep_last(out: Path, n: int) -> None:
    """Remove all but the last n states, and what killed runs left unfinished."""
    for path in saved_states(out)[:-n]:
        remove(path)
    for path in [*(out / FOLDER).glob(".step*"), *unfinished_states(out)]:
        _delete(path)


def remove(path: Path) -> None:
    """Remove a state: first its name, so that a kill leaves none that lacks a part."""
    if path.is_dir():
        path = path.rename(path.with_name(f".{path.name}.old"))
    _delete(path)


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def tensors_of(model: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Collect weights and optimiser tensors by the names of a state, as they are: no copies."""
    tensors = {_MODEL + name: value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"{_OPTIMISER}{key}/{name}"] = torch.as_tensor(value)
    return tensors


def weights_of(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take weights and buffers by their own names out of what `tensors_of` collects."""
    return {n.removeprefix(_MODEL): v for n, v in tensors.items() if n.startswith(_MODEL)}


def save(path: Path, facts: Facts, tensors: Mapping[str, Tensor]) -> None:
    """Write a state in one file, or leave nothing; raises OSError."""
    save_tensors(path, tensors, facts.to_json())


def load(path: Path) -> State:
    """Read a state but its tensors; ValueError names one that is damaged or is no state."""
    tensors: Mapping[str, Stored]
    try:
        tensors, header = read_folder(path) if path.is_dir() else read_header(path)
        return State(path=path, facts=Facts.from_json(header), tensors=tensors)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: cannot be read ({type(error).__name__}: {error}); delete it to go on from "
            "the state before it, or give resume=false"
        ) from error


def weights_for(model: nn.Module, state: State) -> dict[str, Stored]:
    """Find the weights and buffers of a model in a state; ValueError where it does not fit."""
    try:
        check_fits(state.weights, model.state_dict())
    except MisfitError as error:
        raise ValueError(
            f"{state.path} does not fit this model ({error}); give another out= or resume=false"
        ) from error
    return state.weights


def restore_optimiser(state: State, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Give every parameter its optimiser tensors back, sharded as the parameter is."""
    for name, parameter in model.named_parameters():
        values = state.optimiser.get(name, {})
        optimiser.state[parameter] = {
            key: _read(stored, parameter) for key, stored in values.items()
        }


def _read(stored: Stored, parameter: Tensor) -> Tensor | int:
    if not stored.shape:
        number = torch.empty((), dtype=stored.dtype)
        stored.read(number)
        return int(number)
    value = torch.empty_like(parameter, dtype=stored.dtype, requires_grad=False)
    local, offsets = region_of(value)
    stored.read(local, offsets)
    return value
