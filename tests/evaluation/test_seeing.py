"""Dialogues with video are streamed with their frames."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint
from support.hand_made import HandMadeDialogue

LAYOUT = replace(TINY_LAYOUT, video_rows=1, video_cols=1)


class Watching(RowBatch):
    """Rows that remember the frames that they were given and those that the model read."""

    seen: list[np.ndarray]

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        outputs = super().step_rows(inputs)
        self.seen.append(self.tick.inputs["video"].copy())
        return outputs


def test_every_micro_turn_comes_with_its_frame(script: HandMadeDialogue) -> None:
    checkpoint = random_checkpoint(layout=LAYOUT)
    sessions = Watching(checkpoint, 2)
    sessions.seen = []
    sample = script.sample()
    frames = np.arange(80, dtype=np.uint8)[:, None, None, None] * np.ones((1, 40, 40, 3), np.uint8)
    samples = [replace(sample, load_given=lambda: {"video": frames}), sample]
    list(StreamedAgent(sessions).perform(samples))
    assert len(sessions.seen) == 80
    for k, video in enumerate(sessions.seen):
        assert (video[0] == k).all()
        assert not video[1].any()
