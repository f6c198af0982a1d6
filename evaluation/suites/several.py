"""A suite over several runs, which played the same dialogues: those of several training seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from microturn.evaluation.suites.suite import Draws, Measured, Observations, Suite

_RUNS: Final = "runs"


def pooled(runs: Sequence[Mapping[str, Observations]]) -> dict[str, Observations]:
    """Return by dialogue what every run observed in it, of the dialogues that all have played."""
    first, *others = runs
    keys = [key for key in first if all(key in run for run in others)]
    return {key: {_RUNS: [run[key] for run in runs]} for key in keys}


def over_runs(suite: Suite) -> Suite:
    """Return the suite for observations that are `pooled`.

    A dialogue stands for all runs of it, so that intervals, which resample dialogues, know that
    these shared a user.
    """
    of_each = suite.resample

    def measure(dialogues: Sequence[Observations]) -> Measured:
        return suite.measure(_flat(dialogues))

    def resample(dialogues: Sequence[Observations], draws: Draws) -> NDArray[np.float64]:
        assert of_each is not None
        n_runs = len(dialogues[0][_RUNS]) if dialogues else 1
        places = draws[..., None] * n_runs + np.arange(n_runs)
        return of_each(_flat(dialogues), places.reshape(len(draws), -1))

    return replace(suite, measure=measure, resample=None if of_each is None else resample)


def _flat(dialogues: Sequence[Observations]) -> list[Observations]:
    return [run for dialogue in dialogues for run in dialogue[_RUNS]]
