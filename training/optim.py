"""Optimiser and schedule. Muon (Jordan et al. 2024) orthogonalises the momentum of a matrix.

Stacked matrices (experts) of shape (E, rows, columns) are treated as E separate ones. Parameters
that are sharded over devices (FSDP, along their first dimension) are updated shard by shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from microturn.model.param_groups import ParamGroup, param_groups
from microturn.training.config import OptimConfig
from microturn.training.process_group import full_tensor, local_shard, n_copies, shard_like

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz iteration of the Muon paper


def orthogonalise(g: Tensor, rounds: int = 5) -> Tensor:
    """Approximate the nearest semi-orthogonal matrix of each (..., rows, columns)."""
    g = g.bfloat16() if g.is_cuda else g  # enough for five rounds, and fast
    x = g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = _rounds_fused(x, rounds) if x.is_cuda else _rounds(x, rounds)
    return x.mT if tall else x


def _rounds(x: Tensor, n: int) -> Tensor:
    a, b, c = _COEFFICIENTS
    for _ in range(n):
        gram = x @ x.mT
        square = (c * gram) @ gram
        x = (a * x).add_(gram.mul_(b).add_(square) @ x)  # in place: the bits are the same
    return x


def _rounds_fused(x: Tensor, n: int) -> Tensor:
    """`_rounds` in three launches a round: on a GPU the host is slower than these products."""
    a, b, c = _COEFFICIENTS
    y = x.reshape(-1, *x.shape[-2:])
    for _ in range(n):
        gram = y @ y.mT
        y = torch.baddbmm(y, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), y, beta=a)
    return y.view(x.shape)


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
            parameters = [p for p in group["params"] if p.grad is not None]
            if group["muon"]:
                for same_shape in _by_shape(parameters):
                    self._muon_(same_shape, group)
            else:
                self._adamw_(parameters, group)
        return loss

    def _muon_(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update matrices of one shape."""
        for p in parameters:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
        grads = _local_grads(parameters)
        momenta = [local_shard(self.state[p]["momentum"]) for p in parameters]
        torch._foreach_lerp_(momenta, grads, 0.05)
        mixed = torch._foreach_lerp(grads, momenta, 0.95)
        matrices = [_full_matrices(m, p) for m, p in zip(mixed, parameters, strict=True)]
        rows, columns = parameters[0].shape[-2:]
        scale = max(1.0, rows / columns) ** 0.5
        stack = torch.stack(matrices) if len(matrices) > 1 else matrices[0][None]
        updates = orthogonalise(stack).to(stack.dtype).unbind()
        shards = [
            update if p.dim() == 3 else local_shard(shard_like(update, p))
            for p, update in zip(parameters, updates, strict=True)
        ]
        values = [local_shard(p) for p in parameters]
        torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(values, shards, alpha=-group["lr"] * scale)

    def _adamw_(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """Update all parameters of a group: on a GPU with one launch per operation."""
        beta2 = group["beta2"]
        for p in parameters:
            state = self.state[p]
            if not state:
                state["m"], state["v"] = torch.zeros_like(p), torch.zeros_like(p)
                state["step"] = 0
            state["step"] += 1
        grads, steps = _local_grads(parameters), [self.state[p]["step"] for p in parameters]
        m, v = ([local_shard(self.state[p][name]) for p in parameters] for name in ("m", "v"))
        torch._foreach_lerp_(m, grads, 0.1)
        torch._foreach_lerp_(v, torch._foreach_mul(grads, grads), 1 - beta2)
        m_hat = torch._foreach_div(m, [1 - 0.9**step for step in steps])
        denominator = torch._foreach_div(v, [1 - beta2**step for step in steps])
        torch._foreach_sqrt_(denominator)
        torch._foreach_add_(denominator, 1e-8)
        values = [local_shard(p) for p in parameters]
        torch._foreach_mul_(values, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_addcdiv_(values, m_hat, denominator, value=-group["lr"])


def clip_gradients_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients so that their norm is `max_norm` at most; return what it was.

    As `torch.nn.utils.clip_grad_norm_`, which knows no weights of several meshes: those of sharded
    models all have the same number of copies. A collective where they are sharded.
    """
    given = [p for p in parameters if p.grad is not None]
    grads = _local_grads(given)
    norm = _norm_of(grads)
    copies = n_copies(given[0])
    if copies:
        squares = norm.square() / copies
        dist.all_reduce(squares)
        norm = squares.sqrt()
    norm = norm.float()
    torch._foreach_mul_(grads, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _norm_of(grads: list[Tensor]) -> Tensor:
    """Measure the norm of all entries, in fp64, however they are cut over devices.

    A CPU adds the squares of a tensor one after another in fp32, which makes the norm of 100
    million normal numbers 1 % too small: there each row, which is short, is measured first.
    """
    if grads[0].is_cuda:  # adds by halves
        norms = torch.stack(torch._foreach_norm(grads))
    else:
        norms = torch.cat([torch.linalg.vector_norm(g, dim=-1).flatten() for g in grads])
    return torch.linalg.vector_norm(norms, dtype=torch.float64)


def _local_grads(parameters: list[Tensor]) -> list[Tensor]:
    """This device's shards of the gradients."""
    grads = []
    for p in parameters:
        assert p.grad is not None
        grads.append(local_shard(p.grad))
    return grads


def _full_matrices(shard: Tensor, p: Tensor) -> Tensor:
    """Matrices to orthogonalise on this device: its own of a stack, all rows of a single one."""
    if p.dim() == 3 or local_shard(p) is p:
        return shard
    sharded: Any = p  # by rows: every device gathers them
    mesh, placements = sharded.device_mesh, sharded.placements
    return full_tensor(
        sharded.from_local(shard, mesh, placements, shape=p.shape, stride=p.stride())
    )


def _by_shape(parameters: list[Tensor]) -> list[list[Tensor]]:
    """Group matrices that are updated together: on a GPU those of one shape, else single ones."""
    groups: dict[Any, list[Tensor]] = {}
    for index, p in enumerate(parameters):
        groups.setdefault(tuple(p.shape) if p.is_cuda else index, []).append(p)
    return list(groups.values())


def build_optimizer(model: torch.nn.Module, cfg: OptimConfig) -> MuonAdamW:
    """Muon for the matrices of blocks, AdamW for all else (`model/param_groups.py`), at the peak.

    The groups have names, which Lightning's LearningRateMonitor shows.
    """
    members: dict[ParamGroup, list[Tensor]] = {group: [] for group in ParamGroup}
    for parameter, group in param_groups(model).items():
        without_muon = group is ParamGroup.MATRIX and cfg.muon_lr <= 0
        members[ParamGroup.TABLE if without_muon else group].append(parameter)
    muon = {"muon": True, "lr": cfg.muon_lr, "weight_decay": cfg.weight_decay}
    adam = {"lr": cfg.lr, "weight_decay": cfg.weight_decay}
    groups = [
        {"name": "matrices", "params": members[ParamGroup.MATRIX], **muon},
        {"name": "tables", "params": members[ParamGroup.TABLE], **adam},
        {"name": "vectors", "params": members[ParamGroup.VECTOR], **adam, "weight_decay": 0.0},
    ]
    return MuonAdamW([g for g in groups if g["params"]], beta2=cfg.beta2)


def rate(step: int, progress: float, cfg: OptimConfig) -> float:
    """Share of the peak rate: linear warm-up, flat, then linear to zero over `decay`."""
    warm = min(1.0, (step + 1) / max(1, cfg.warmup_steps))
    return warm * min(1.0, max(0.0, (1.0 - progress) / cfg.decay))
