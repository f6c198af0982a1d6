"""What can be set for `bench kernels`."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option
from microturn.configs.load import ConfigError


@dataclass(frozen=True, kw_only=True)
class BenchKernelsConfig:
    """`microturn bench kernels`; sizes of 0 are 1024/64/4/512 on a GPU, the tiny model's else."""

    tokens: list[int] = option(
        default_factory=lambda: [1, 2, 4, 8, 16, 24, 32], help="positions at once, one row each"
    )
    d_model: int = option(0, "width of the residual stream, 0: by device")
    n_experts: int = option(0, "routed experts, 0: by device")
    top_k: int = option(0, "experts that each position uses, 0: by device")
    d_expert: int = option(0, "hidden width of one expert, a multiple of 8, 0: by device")
    repeats: int = option(11, "sweeps over all sets of weights; the median counts")
    seed: int = option(0, "random numbers of weights and inputs")
    json: str = option("", "write the numbers to this file, - for stdout")

    def __post_init__(self) -> None:
        if not self.tokens or min(self.tokens) < 1:
            raise ConfigError(f"tokens={self.tokens} must be counts of at least 1")
        if self.repeats < 1:
            raise ConfigError(f"repeats={self.repeats} must be at least 1")
        for name in ("d_model", "n_experts", "top_k", "d_expert"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name}={getattr(self, name)} must not be negative")
        if self.d_model % 8 or self.d_expert % 8:
            raise ConfigError(
                f"d_model={self.d_model} and d_expert={self.d_expert} must be multiples of 8"
            )
