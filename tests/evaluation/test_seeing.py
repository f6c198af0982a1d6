"""Dialogues with video are streamed with their frames."""

from dataclasses import replace
from typing import Any

import numpy as np

from microturn.evaluation.agents.streaming import StreamedAgent
from microturn.inference.rows import SessionBatch, TurnOutput
from microturn.model.checkpoint import TINY_LAYOUT, random_checkpoint

LAYOUT = replace(TINY_LAYOUT, video_rows=1, video_cols=1)


class Watching(SessionBatch):
    """Sessions that remember what they saw."""

    seen: list[np.ndarray]

    def append(self, *args: Any, video: Any = None, **more: Any) -> list[TurnOutput]:
        self.seen.append(video)
        return super().append(*args, video=video, **more)


def test_every_micro_turn_comes_with_its_frame(script: Any) -> None:
    checkpoint = random_checkpoint(layout=LAYOUT)
    sessions = Watching(checkpoint, 2)
    sessions.seen = []
    sample = script.sample()
    frames = np.arange(80, dtype=np.uint8)[:, None, None, None] * np.ones((1, 40, 40, 3), np.uint8)
    samples = [replace(sample, load_video=lambda: frames), sample]
    list(StreamedAgent(sessions, LAYOUT, checkpoint.tokenizer).perform(samples))
    assert len(sessions.seen) == 80
    for k, video in enumerate(sessions.seen):
        assert (video[0] == k).all()
        assert not video[1].any()
