"""How evenly the experts are used, and which of them are not."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

DEAD_SHARE = 0.05  # an expert with less than this share of the mean load is dead


def load_metrics(loads: Tensor) -> dict[str, Tensor]:
    """Summarise the loads (R, E) that the experts of each router had in a step.

    `router/imbalance`: largest over mean load, mean over routers; `router/smallest`: smallest over
    mean load, of the worst router; `router/dead`: experts below `DEAD_SHARE`, over all routers.
    """
    shares = loads / loads.mean(-1, keepdim=True).clamp_min(1)
    return {
        "router/imbalance": shares.amax(-1).mean(),
        "router/smallest": shares.amin(),
        "router/dead": (shares < DEAD_SHARE).sum().float(),
    }


class DeadExperts:
    """Adds up loads over steps and names the experts that got next to nothing."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._named: set[str] = set()

    def add(self, loads: Mapping[str, Tensor]) -> None:
        """Add the loads (E,) of a step, by router."""
        if not self._sums or not loads:
            self._sums = {**self._sums, **loads}
            return
        sums = torch._foreach_add([self._sums[name] for name in loads], [*loads.values()])
        self._sums = dict(zip(loads, sums, strict=True))

    def take(self) -> str:
        """Name the dead experts since the last call, unless they are those of then; start over."""
        sums, self._sums = self._sums, {}
        dead = {}
        for name, load in sums.items():
            share = load / load.mean().clamp_min(1)
            for index in (share < DEAD_SHARE).nonzero().flatten().tolist():
                dead[f"{name} expert {index}"] = float(share[index])
        if dead.keys() == self._named:
            return ""
        self._named = set(dead)
        return ", ".join(f"{name} ({share:.2f} of the mean load)" for name, share in dead.items())
