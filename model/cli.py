"""The command of this folder: `plan`."""

from __future__ import annotations

from microturn.configs.command import Command
from microturn.model.plan.config import PlanConfig


def _plan(config: PlanConfig) -> int:
    from microturn.model.plan.plan import print_plan

    return print_plan(config)


PLAN = Command(
    schema=PlanConfig,
    run=_plan,
    help="Print size, needs and parallel layout of a model; nothing is computed.",
)
