"""How evenly the experts are used, and which of them are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

DEAD_SHARE = 0.05  # an expert with less than this share of the mean load is dead


def load_metrics(loads: Sequence[Tensor]) -> dict[str, Tensor]:
    """Summarise the loads (E,) that the experts of each router had in a step.

    `router/imbalance`: largest over mean load, mean over routers; `router/smallest`: smallest over
    mean load, of the worst router; `router/dead`: experts below `DEAD_SHARE`, over all routers.
    """
    if not loads:
        return {}
    shares = [load / load.mean().clamp_min(1) for load in loads]
    return {
        "router/imbalance": torch.stack([share.max() for share in shares]).mean(),
        "router/smallest": torch.stack([share.min() for share in shares]).min(),
        "router/dead": torch.stack([(share < DEAD_SHARE).sum() for share in shares]).sum().float(),
    }


class DeadExperts:
    """Adds up loads over steps and names the experts that got next to nothing."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._named: set[str] = set()

    def add(self, loads: Mapping[str, Tensor]) -> None:
        """Add the loads (E,) of a step, by router."""
        for name, load in loads.items():
            self._sums[name] = self._sums[name] + load if name in self._sums else load

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
