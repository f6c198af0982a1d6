"""Whole tensors of a saved state, for comparisons."""

from pathlib import Path

from torch import Tensor

from microturn.model.stored.weights import read_whole
from microturn.training.state import load, saved_states


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a state, in one file or in pieces."""
    return read_whole(load(path).tensors)


def state_at(out: Path, step: int) -> Path:
    """Find the state of a step, in either form."""
    (path,) = (path for path in saved_states(out) if int(path.stem[4:]) == step)
    return path
