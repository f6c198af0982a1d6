"""Feed-forward layers: a dense SwiGLU, and a mixture of experts with a sigmoid router.

The router is that of the public Inkling code: select by sigmoid score plus a bias that only
selection sees, then normalise the scores of the selected and the shared experts jointly.
N tokens, D width, E routed experts, S shared ones, K selected, F expert width.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels import ops
from microturn.kernels.expert_exchange import ExpertExchange
from microturn.model.config import MoEConfig
from microturn.model.linear import BatchInvariantLinear
from microturn.model.param_groups import ParamGroup


class SwiGLU(nn.Module):
    """Dense feed-forward layer with a SiLU gate."""

    def __init__(self, d_model: int, d_ff: int) -> None:
        super().__init__()
        self.up = BatchInvariantLinear(d_model, 2 * d_ff, bias=False)
        self.down = BatchInvariantLinear(d_ff, d_model, bias=False)

    def init_weights(self, residual_scale: float) -> None:
        """Draw all weights; `residual_scale` scales the output to the residual stream."""
        self.up.init_weights()
        self.down.init_weights(residual_scale)

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        return dict.fromkeys([self.up.weight, self.down.weight], ParamGroup.MATRIX)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(ops.swiglu(self.up(x)))


class MixtureOfExperts(nn.Module):
    """Routed plus shared experts; counts loads and keeps the z-loss of the last forward pass."""

    selection_bias: Tensor
    load: Tensor

    def __init__(self, d_model: int, cfg: MoEConfig) -> None:
        super().__init__()
        self.cfg = cfg
        E, S, width = cfg.n_experts, cfg.n_shared, cfg.d_expert
        self.router = BatchInvariantLinear(d_model, E + S, bias=False)
        self.up = nn.Parameter(torch.empty(E, d_model, 2 * width))
        self.down = nn.Parameter(torch.empty(E, width, d_model))
        self.shared = SwiGLU(d_model, S * width) if S else None
        self.register_buffer("selection_bias", torch.zeros(E))
        self.register_buffer("load", torch.zeros(E), persistent=False)
        self.exchange: ExpertExchange | None = None  # None: all experts are on this device
        self.z_loss: Tensor | None = None
        self.chosen: Tensor | None = None  # (N, K) of the last forward pass in training
        self.real: Tensor | None = None  # (N,) of the same: 1 where it was no padding; None: all

    def init_weights(self, residual_scale: float) -> None:
        """Draw all weights; `residual_scale` scales the output to the residual stream."""
        for stack, scale in ((self.up, 1.0), (self.down, residual_scale)):
            nn.init.normal_(stack, std=scale * stack.shape[1] ** -0.5)
        self.router.init_weights()
        if self.shared is not None:
            self.shared.init_weights(residual_scale)

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        return dict.fromkeys([self.up, self.down], ParamGroup.MATRIX)

    @property
    def _scale(self) -> float:
        return self.cfg.route_scale or float(self.cfg.n_active)

    def route(self, x_ND: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Choose expert ids (N, K), their weights (N, K) and the shared experts' weights (N, S)."""
        cfg = self.cfg
        return ops.route(x_ND, self.router.weight, self.selection_bias, cfg.top_k, self._scale)

    def _route_measured(self, x_ND: Tensor, real_N: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Route with gradients; keep the z-loss and, in training, count what was chosen."""
        E = self.cfg.n_experts
        with torch.autocast(x_ND.device.type, enabled=False):
            logits = F.linear(x_ND.float(), self.router.weight.float())  # (N, E + S)
        scores = logits.sigmoid()
        ids_NK = (scores[:, :E].detach() + self.selection_bias).topk(self.cfg.top_k, dim=-1).indices
        chosen = torch.cat([scores[:, :E].gather(1, ids_NK), scores[:, E:]], dim=-1)
        weights = chosen / (chosen.sum(-1, keepdim=True) + 1e-9) * self._scale
        squares = logits.logsumexp(-1).square()
        if real_N is None:
            self.z_loss = squares.mean()
        else:
            self.z_loss = (squares * real_N).sum() / real_N.sum()
        if self.training:
            self.chosen, self.real = ids_NK, real_N
            counts = torch.ones_like(ids_NK, dtype=self.load.dtype)
            if real_N is not None:
                counts = counts * real_N[:, None]
            self.load.scatter_add_(0, ids_NK.flatten(), counts.flatten())  # a GPU counts slowly
        return ids_NK, weights[:, : self.cfg.top_k], weights[:, self.cfg.top_k :]

    def forward(self, x: Tensor, real: Tensor | None = None) -> Tensor:
        """Compute positions of whole dialogues, x (..., D), and measure the router.

        real (...): 1 for positions that are no padding, 0 for others, which neither loads nor
        z-loss count; None: all are.
        """
        x_ND = x.reshape(-1, x.shape[-1])
        real_N = None if real is None else real.reshape(-1)
        return self._mix(x_ND, *self._route_measured(x_ND, real_N)).view_as(x)

    def infer(self, x: Tensor) -> Tensor:
        """Compute positions of live sessions, x (..., D), and measure nothing."""
        x_ND = x.reshape(-1, x.shape[-1])
        return self._mix(x_ND, *self.route(x_ND)).view_as(x)

    def _mix(self, x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, w_NS: Tensor) -> Tensor:
        if self.exchange is not None:
            return self._mix_exchanged(self.exchange, x_ND, ids_NK, w_NK, w_NS)
        y_ND = ops.experts(x_ND, ids_NK, w_NK, self.up, self.down)
        if self.shared is not None:  # one wide layer, each expert scaled by its own weight
            y_ND = y_ND + self.shared.down(ops.swiglu(self.shared.up(x_ND), w_NS))
        return y_ND

    def _mix_exchanged(
        self, exchange: ExpertExchange, x_ND: Tensor, ids_NK: Tensor, w_NK: Tensor, w_NS: Tensor
    ) -> Tensor:
        """Mix with experts of other devices: the shared ones are computed while rows travel."""
        trip = exchange.send(x_ND, ids_NK, self.cfg.n_experts)
        hidden = None if self.shared is None else ops.swiglu(self.shared.up(x_ND), w_NS)
        trip.compute(self.up, self.down)
        if self.shared is None or hidden is None:
            return trip.combine(w_NK)
        y_ND = self.shared.down(hidden)
        return trip.combine(w_NK) + y_ND


@torch.no_grad()
def balance_(routers: Sequence[MixtureOfExperts]) -> Tensor:
    """Take one balancing step of each router (sign rule, mean-centred); return and clear the loads.

    All have E experts and one speed; loads (R, E). A GPU takes as long for all at once as for one.
    The bias of a frozen router holds still: it would route otherwise with the same weights.
    """
    loads = torch.stack([router.load for router in routers])
    delta = torch.sign(loads.mean(-1, keepdim=True) - loads) * routers[0].cfg.bias_speed
    steps = (delta - delta.mean(-1, keepdim=True)).unbind()
    trained = [i for i, router in enumerate(routers) if router.router.weight.requires_grad]
    if trained:
        biases = [routers[i].selection_bias for i in trained]
        torch._foreach_add_(biases, [steps[i] for i in trained])
    torch._foreach_zero_([router.load for router in routers])
    return loads


@contextmanager
def counted_once(module: nn.Module) -> Iterator[None]:
    """Restore loads and z-losses of a module's routers after a second forward pass over the same.

    For `torch.utils.checkpoint`, whose backward pass computes forward again.
    """
    routers = [m for m in module.modules() if isinstance(m, MixtureOfExperts)]
    saved = [(m, m.load.clone(), m.z_loss) for m in routers]
    try:
        yield
    finally:
        for router, load, z_loss in saved:
            router.load.copy_(load)
            router.z_loss = z_loss
