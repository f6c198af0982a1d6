"""Layers of `nn` with the arithmetic of `kernels`, and the same parameters."""

from torch import Tensor, nn

from microturn.kernels import batch_invariant
from microturn.kernels.rms_norm import rms_norm


class BatchInvariantLinear(nn.Linear):
    """`nn.Linear` with the arithmetic of `kernels/batch_invariant.py`, for sessions on a CPU."""

    def init_weights(self, scale: float = 1.0) -> None:
        """Draw the weights: normal, std `scale` / sqrt(inputs). A bias stays as it is."""
        nn.init.normal_(self.weight, std=scale * self.in_features**-0.5)

    def forward(self, input: Tensor) -> Tensor:
        return batch_invariant.linear(input, self.weight, self.bias)


class RMSNorm(nn.RMSNorm):
    """`nn.RMSNorm` with a backward pass of few operations on a CPU (`kernels/rms_norm.py`)."""

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)
