"""`microturn reconstruct`: how much of the agent's voice survives lanes and vocoder."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.evaluation.reconstruct.config import ReconstructConfig


def _reconstruct(config: ReconstructConfig) -> int:
    from microturn.evaluation.reconstruct.report import reconstruct

    return reconstruct(config)


RECONSTRUCT = Command(
    schema=ReconstructConfig,
    run=_reconstruct,
    help="Turn the agent's recorded voice into lanes and back, and measure the loss.",
)
