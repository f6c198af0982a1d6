"""Adds movements and signs that the user has not asked about."""

from __future__ import annotations

from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.camera_acts import BoardAct, BoardItem, FigureAct
from microturn.datagen.dialogue.expectations import agent_must_be_silent
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import Script
from microturn.datagen.dialogue.timeline import Event, Expect
from microturn.datagen.labels.event_types import VISUAL_COUNT, VISUAL_QUESTION
from microturn.datagen.video.figures import REPEATED
from microturn.datagen.video.glyphs import GLYPHS

LENGTH_S: Final = (2.0, 6.0)
CYCLE_S: Final = (1.0, 2.0)
TAKE_UP_S: Final = 0.6
MARGIN_S: Final = 1.0  # distance from everything the agent has been asked to watch


def add_unasked(config: DatagenConfig, recipe: Recipe, *, script: Script) -> None:
    """Add a movement or a sign with a probability; the agent must ignore it."""
    if not config.layout.lane("video").positions:
        return
    rng, rate = recipe.rng("video/unasked"), config.layout.sample_rate
    if rng.random() >= config.video.unasked_probability:
        return
    length = round(float(rng.uniform(*LENGTH_S)) * rate)
    margin, n = round(MARGIN_S * rate), config.n_samples
    if length >= n:
        return
    start = int(rng.integers(n - length))
    end = start + length
    if script.acts.overlaps(start - margin, end + margin):
        return
    if rng.random() < 0.5:
        name = tuple(REPEATED)[int(rng.integers(len(REPEATED)))]
        half = round(float(rng.uniform(*CYCLE_S)) * rate / 2)
        edge = min(round(TAKE_UP_S * rate), length // 3)
        phase = [(start + edge, 0.0)]
        while phase[-1][0] + half <= end - edge:
            phase.append((phase[-1][0] + half, 1.0 - phase[-1][1]))
        blend = ((start, 0.0), (start + edge, 1.0), (end - edge, 1.0), (end, 0.0))
        script.acts.figure.append(FigureAct(action=name, phase=tuple(phase), blend=blend))
        kind = VISUAL_COUNT
    else:
        name = tuple(GLYPHS)[int(rng.integers(len(GLYPHS)))]
        script.acts.board.append(
            BoardAct(
                items=(
                    BoardItem(
                        text=name,
                        start_sample=start,
                        ready_sample=start + rate // 4,
                        end_sample=end,
                    ),
                )
            )
        )
        kind = VISUAL_QUESTION
    window = (start, end)
    due = not agent_must_be_silent(script.timeline, window)
    expect = None if due else Expect(act="stay_silent", window_samples=window)
    event = Event(
        type=kind, start_sample=start, end_sample=end, speaker="scene", text=name, expect=expect
    )
    script.timeline.events.append(event)
