"""Micro-turns whose input does not arrive in time are late for the sessions, too."""

from dataclasses import replace
from typing import Any

import numpy as np

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.inference.rows import SessionBatch, TurnOutput
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint


class Noting(SessionBatch):
    """Sessions that remember which rows were late."""

    noted: list[list[bool] | None]

    def append(self, *args: Any, late: Any = None, **more: Any) -> list[TurnOutput]:
        self.noted.append(None if late is None else late.tolist())
        return super().append(*args, late=late, **more)


def test_late_micro_turns_are_told_to_the_sessions(script: Any) -> None:
    checkpoint = random_checkpoint(layout=TINY_LAYOUT)
    sessions = Noting(checkpoint, 3)
    sessions.noted = []
    sample = script.sample()
    late = np.zeros(80, np.bool_)
    late[[7, 40]] = True
    samples = [sample, replace(sample, load_late=lambda: late)]
    list(StreamedAgent(sessions, TINY_LAYOUT, checkpoint.tokenizer).perform(samples))
    noted = {k: rows for k, rows in enumerate(sessions.noted) if rows is not None}
    assert noted == {7: [False, True, False], 40: [False, True, False]}
