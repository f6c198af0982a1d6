"""Conditional flow matching for one patch of log-mel per audio_out position.

x_t = (1 - t) * noise + t * x. The network predicts the clean patch x (so that a narrow network
can serve a wide patch: data lie on a thin sheet, noise does not; arXiv 2511.13720) and the
velocity follows as (x - x_t) / (1 - t). Conditioned on the backbone and on the previous clean
patch, without which such heads fail (DiTAR, arXiv 2502.03930; CALM, arXiv 2509.06926).
N positions, P patch numbers, D backbone width, W head width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microturn.kernels.batch_invariant import elementwise
from microturn.model.config import FlowConfig
from microturn.model.linear import BatchInvariantLinear
from microturn.model.noise import FlowNoise
from microturn.model.param_groups import ParamGroup

TIME_FEATURES = 64
_T_MAX = 0.98  # keeps the velocity's 1 / (1 - t) bounded in the loss


class _Block(nn.Module):
    """Residual MLP modulated by the condition (adaLN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.up = BatchInvariantLinear(width, 2 * width)
        self.down = BatchInvariantLinear(2 * width, width)
        self.modulation = BatchInvariantLinear(width, 3 * width)

    def init_weights(self) -> None:
        """Draw all weights; gates start closed."""
        self.up.init_weights()
        self.down.init_weights()
        self.modulation.init_weights(0.0)

    def param_groups(self) -> dict[Tensor, ParamGroup]:
        matrices = [self.up.weight, self.down.weight, self.modulation.weight]
        return dict.fromkeys(matrices, ParamGroup.MATRIX)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        hidden = self.norm(x) * (1 + scale) + shift
        return x + gate * self.down(elementwise(F.silu, self.up(hidden)))


class FlowHead(nn.Module):
    """Denoising network over one patch, conditioned on backbone and previous patch."""

    def __init__(self, d_model: int, patch_dim: int, cfg: FlowConfig) -> None:
        super().__init__()
        self.cfg, self.patch_dim = cfg, patch_dim
        self.patch_in = BatchInvariantLinear(patch_dim, cfg.width)
        self.previous_in = BatchInvariantLinear(patch_dim, cfg.width)
        self.condition_in = BatchInvariantLinear(d_model, cfg.width)
        self.time_in = nn.Sequential(
            BatchInvariantLinear(TIME_FEATURES, cfg.width),
            nn.SiLU(),
            BatchInvariantLinear(cfg.width, cfg.width),
        )
        self.no_condition = nn.Parameter(torch.zeros(cfg.width))
        self.no_previous = nn.Parameter(torch.zeros(cfg.width))
        self.blocks = nn.ModuleList(_Block(cfg.width) for _ in range(cfg.depth))
        self.norm_out = nn.LayerNorm(cfg.width)
        self.patch_out = BatchInvariantLinear(cfg.width, patch_dim)

    def init_weights(self) -> None:
        """Draw all weights; the first prediction is zero."""
        layers = [self.patch_in, self.previous_in, self.condition_in, self.time_in[0]]
        for layer in (*layers, self.time_in[2], *self.blocks):
            layer.init_weights()
        self.patch_out.init_weights(0.0)

    def _time(self, t: Tensor) -> Tensor:
        """Embed t (N,) in [0, 1] by sinusoidal features, (N, W)."""
        half = TIME_FEATURES // 2
        rates = torch.exp(-math.log(1000.0) * torch.arange(half, device=t.device) / half)
        angles = 1000.0 * t.unsqueeze(-1) * rates
        features = torch.cat([angles.cos(), angles.sin()], dim=-1)
        return self.time_in(features.to(self.patch_in.weight.dtype))

    def _predict(self, x_t: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Predict the clean patch from a noised one; time and condition (N, W) are embedded."""
        hidden = self.patch_in(x_t) + condition
        modulation = elementwise(F.silu, condition + time)
        for block in self.blocks:
            hidden = block(hidden, modulation)
        return self.patch_out(self.norm_out(hidden))

    def loss(
        self, z: Tensor, x: Tensor, previous: Tensor, noise: FlowNoise | None = None
    ) -> Tensor:
        """Compute the squared error per position (N,), mean over patch numbers and noise draws.

        z (N, D) backbone, x (N, P) clean target, previous (N, P) clean previous patch; noise is
        drawn from torch's global generator by default.
        """
        N, draws = len(x), self.cfg.draws
        noise = noise or FlowNoise.draw(N, self.patch_dim, n_draws=draws, device=x.device)
        keep_z = noise.drop_condition >= self.cfg.drop_condition
        keep_p = noise.drop_previous >= self.cfg.drop_previous
        condition = torch.where(keep_z, self.condition_in(z), self.no_condition)
        condition = condition + torch.where(keep_p, self.previous_in(previous), self.no_previous)
        condition, x = condition.repeat(draws, 1), x.repeat(draws, 1)
        t = noise.time * _T_MAX
        x_t = (1 - t)[:, None] * noise.noise + t[:, None] * x
        error = (self._predict(x_t, self._time(t), condition).float() - x).square().mean(-1)
        return error.view(draws, N).mean(0)

    def sample(self, z: Tensor, previous: Tensor, noise: Tensor) -> Tensor:
        """Sample patches (N, P) in fp32 by Euler steps from `noise` (N, P), standard normal."""
        dtype = self.patch_in.weight.dtype
        z, previous = z.to(dtype), previous.to(dtype)
        steps, before = self.cfg.steps, self.previous_in(previous)
        conditioned, free = self.condition_in(z) + before, self.no_condition + before
        times = self._time(torch.arange(steps, device=z.device) / steps)
        x = noise * self.cfg.temperature
        for step, time in enumerate(times):
            clean = self._predict(x.to(dtype), time, conditioned)
            if self.cfg.guidance != 1.0:
                without = self._predict(x.to(dtype), time, free)
                clean = without + self.cfg.guidance * (clean - without)
            x = x + (clean - x) / (steps - step)
        return x
