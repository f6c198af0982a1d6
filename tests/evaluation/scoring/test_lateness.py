"""Micro-turns whose input does not arrive in time are late for the sessions, too."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint
from support.hand_made import HandMadeDialogue


class Noting(RowBatch):
    """Rows that remember which of them had no input."""

    noted: list[list[int]]

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        self.noted.append([row for row, i in inputs.items() if i.missing_input])
        return super().step_rows(inputs)


def test_missing_input_reaches_the_model(script: HandMadeDialogue) -> None:
    checkpoint = random_checkpoint(layout=TINY_LAYOUT)
    sessions = Noting(checkpoint, 3)
    sessions.noted = []
    sample = script.sample()
    late = np.zeros(80, np.bool_)
    late[[7, 40]] = True
    samples = [sample, replace(sample, load_missing_input=lambda: late)]
    list(StreamedAgent(sessions).perform(samples))
    noted = {k: rows for k, rows in enumerate(sessions.noted) if rows}
    assert noted == {7: [1], 40: [1]}
