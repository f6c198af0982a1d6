"""Subcommands of this folder; what they need is imported when they run."""

from typing import Any

from microturn.configs.command import Command
from microturn.evaluation.config import EvaluateConfig


def _evaluate(config: EvaluateConfig) -> int:
    from microturn.evaluation.evaluate import evaluate

    return evaluate(config)


EVALUATE = Command(
    schema=EvaluateConfig,
    run=_evaluate,
    help="Play held-out dialogues to a checkpoint or a baseline and score what it does, and when.",
)


def __getattr__(name: str) -> Any:
    if name == "DEMO":  # in a file of its own, which this one need not read to evaluate
        from microturn.evaluation.demo import DEMO

        return DEMO
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
