"""Optimisers and schedule. Muon (Jordan et al. 2024) orthogonalises the momentum of a matrix.

Stacked matrices (experts) of shape (E, rows, columns) are treated as E separate ones. Parameters
that are spread over devices (FSDP, along their first dimension) are updated where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from microturn.training.config import OptimConfig
from microturn.training.ranks import local, spread_like, whole

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz iteration of the Muon paper


def orthogonalise(g: Tensor, rounds: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrix, roughly, of each (..., rows, columns)."""
    a, b, c = _COEFFICIENTS
    g = g.bfloat16() if g.is_cuda else g  # five rounds do not need more, and tensor cores do this
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(rounds):
        gram = x @ x.mT
        square = (c * gram) @ gram
        x = (a * x).add_(gram.mul_(b).add_(square) @ x)  # in place: the bits are the same
    return x.mT if tall else x


class MuonAdamW(torch.optim.Optimizer):
    """Muon on groups marked `muon`, AdamW on the rest; one object, one state dict."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, beta2: float) -> None:
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0, "beta2": beta2, "muon": False})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            present = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                for alike in _alike(present):
                    self._muon_(alike, group)
                continue
            for parameter in present:
                self._adamw_(parameter, group)
        return loss

    def _muon_(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """One update of matrices of one shape."""
        wanted = []
        for p in parameters:
            assert p.grad is not None
            state = self.state[p]
            if not state:
                state["momentum"] = torch.zeros_like(p)
            grad = local(p.grad)
            momentum = local(state["momentum"]).lerp_(grad, 0.05)
            wanted.append(_matrices(grad.lerp(momentum, 0.95), p))
        rows, columns = parameters[0].shape[-2:]
        scale = max(1.0, rows / columns) ** 0.5
        shrink = 1 - group["lr"] * group["weight_decay"]
        updates = orthogonalise(torch.stack(wanted) if len(wanted) > 1 else wanted[0][None])
        for p, update in zip(parameters, updates, strict=True):
            mine = update if p.dim() == 3 else local(spread_like(update, p))
            local(p).mul_(shrink).add_(mine, alpha=-group["lr"] * scale)

    def _adamw_(self, parameter: Tensor, group: dict[str, Any]) -> None:
        assert parameter.grad is not None
        state, beta2 = self.state[parameter], group["beta2"]
        if not state:
            state["m"], state["v"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] = 0
        state["step"] += 1
        p, grad = local(parameter), local(parameter.grad)
        m = local(state["m"]).lerp_(grad, 0.1)
        v = local(state["v"]).lerp_(grad.square(), 1 - beta2)
        m_hat = m / (1 - 0.9 ** state["step"])
        v_hat = v / (1 - beta2 ** state["step"])
        p.mul_(1 - group["lr"] * group["weight_decay"])
        p.addcdiv_(m_hat, v_hat.sqrt().add_(1e-8), value=-group["lr"])


def _matrices(wanted: Tensor, p: Tensor) -> Tensor:
    """What is orthogonalised here: a stack's own matrices, but all rows of a single matrix."""
    if p.dim() == 3 or local(p) is p:
        return wanted
    spread: Any = p  # by rows: they are put together on every device
    mesh, places = spread.device_mesh, spread.placements
    return whole(spread.from_local(wanted, mesh, places, shape=p.shape, stride=p.stride()))


def _alike(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Matrices that are updated together: on a GPU those of one shape, else each by itself."""
    groups: dict[Any, list[Tensor]] = {}
    for index, p in enumerate(parameters):
        groups.setdefault(tuple(p.shape) if p.is_cuda else index, []).append(p)
    return list(groups.values())


def build_optimizer(model: torch.nn.Module, cfg: OptimConfig) -> MuonAdamW:
    """Muon for the matrices inside blocks, flow head and vocoder, AdamW for all else."""
    matrices, tables, vectors = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.dim() < 2 or "lane" in name or "sink" in name:
            vectors.append(parameter)
        elif _is_hidden_matrix(name) and cfg.muon_lr > 0:
            matrices.append(parameter)
        else:
            tables.append(parameter)
    adam, muon = cfg.lr, cfg.muon_lr
    groups = [
        {"params": matrices, "muon": True, "peak": muon, "weight_decay": cfg.weight_decay},
        {"params": tables, "peak": adam, "weight_decay": cfg.weight_decay},
        {"params": vectors, "peak": adam, "weight_decay": 0.0},
    ]
    return MuonAdamW([g for g in groups if g["params"]], beta2=cfg.beta2)


def _is_hidden_matrix(name: str) -> bool:
    inside = name.startswith(("backbone.blocks", "flow.blocks", "vocoder.blocks"))
    return inside and "router" not in name and "taps" not in name


def rate(step: int, progress: float, cfg: OptimConfig) -> float:
    """Share of the peak rate: linear warm-up, flat, then linear to zero over `decay`."""
    warm = min(1.0, (step + 1) / max(1, cfg.warmup_steps))
    return warm * min(1.0, max(0.0, (1.0 - progress) / cfg.decay))
