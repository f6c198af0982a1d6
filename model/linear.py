"""`nn.Linear` whose CPU result for a row does not depend on the batch."""

from torch import Tensor, nn

from microturn.kernels import batch_invariant


class BatchInvariantLinear(nn.Linear):
    """`nn.Linear` with the arithmetic of `kernels/batch_invariant.py`, for sessions on a CPU."""

    def init_weights(self, scale: float = 1.0) -> None:
        """Draw the weights: normal, std `scale` / sqrt(inputs). A bias stays as it is."""
        nn.init.normal_(self.weight, std=scale * self.in_features**-0.5)

    def forward(self, input: Tensor) -> Tensor:
        return batch_invariant.linear(input, self.weight, self.bias)
