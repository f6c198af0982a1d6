"""Which optimiser group each parameter belongs to: modules declare, dimensions decide the rest."""

from __future__ import annotations

from enum import Enum
from typing import Protocol, runtime_checkable

from torch import Tensor, nn


class ParamGroup(Enum):
    """How a parameter is optimised; `training/optim.py` has the rates."""

    MATRIX = "matrix"  # between hidden vectors of a block: Muon, with weight decay
    TABLE = "table"  # embeddings, maps into and out of blocks, routers: AdamW, with weight decay
    VECTOR = "vector"  # norms, biases, marks of positions, sinks: AdamW, no weight decay


@runtime_checkable
class DeclaresParamGroups(Protocol):
    """A module that knows more about its parameters than their dimensions tell."""

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        """Groups of parameters of this module and its layers; those left out follow the default."""
        ...


def param_groups(model: nn.Module) -> dict[Tensor, ParamGroup]:
    """The group of every parameter, in the order of `model.parameters()`.

    Default: a vector with fewer than two dimensions, else a table.
    """
    declared: dict[Tensor, ParamGroup] = {}
    for module in model.modules():
        if isinstance(module, DeclaresParamGroups):
            declared |= module.param_groups()
    return {p: declared.get(p, _default(p)) for p in model.parameters()}


def _default(parameter: Tensor) -> ParamGroup:
    return ParamGroup.VECTOR if parameter.dim() < 2 else ParamGroup.TABLE
