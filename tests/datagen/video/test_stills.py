"""Stills of drawn worlds: what their labels say is in the picture."""

from __future__ import annotations

import numpy as np

from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.video.config import VideoConfig
from microturn.datagen.video.stills import POSES, Stills, draw_stills
from microturn.datagen.video.world import draw_world

SIGNS = ("1", "8", "10", "W")
STEADY = VideoConfig(distractors=(0, 0), camera_motion=0.0, light=0.0, noise=(0.0, 0.0))
SIZE = 40


def stills(config: VideoConfig = STEADY, *, world: int = 0, n: int = 60) -> Stills:
    return draw_stills(config, SIGNS, seed=3, world=world, n=n, height=SIZE, width=SIZE)


def test_a_still_depends_on_seed_and_world_alone() -> None:
    config = VideoConfig()
    first = stills(config, n=8)
    again, fewer, other = stills(config, n=8), stills(config, n=3), stills(config, world=1, n=8)
    assert np.array_equal(first.frames, again.frames)
    assert np.array_equal(first.frames[:3], fewer.frames)
    assert not np.array_equal(first.frames, other.frames)
    assert first.frames.shape == (8, SIZE, SIZE, 3)
    assert first.frames.dtype == np.uint8


def test_the_labels_say_what_is_in_the_picture() -> None:
    """In a steady world, beside the picture of someone who stands before an empty board."""
    drawn = stills()
    empty = drawn.frames[(drawn.signs == 0) & (drawn.poses == 0)][0].astype(int)
    world = draw_world(STEADY, rng_for(3, 0, "video/stills"), height=SIZE, width=SIZE)
    columns = np.arange(SIZE) < SIZE / 2 if world.board_x < 0 else np.arange(SIZE) >= SIZE / 2
    board, figure = columns, ~columns
    changed = np.abs(drawn.frames.astype(int) - empty).sum(-1) > 150  # (S, H, W)
    moves = drawn.poses > 0
    for k in range(len(drawn.frames)):
        top = changed[k, : SIZE // 2]
        if not moves[k]:
            assert top[:, board].any() == (drawn.signs[k] > 0)
            assert changed[k][:, figure].mean() < 0.02  # a figure that stands sways a little
        elif drawn.phases[k] > 0.5:
            assert changed[k].any()
    assert set(drawn.signs.tolist()) == set(range(len(SIGNS) + 1))
    assert 0 < moves.mean() < 1
    assert drawn.poses.max() <= len(POSES)
    assert np.all(drawn.phases[~moves] == 0)
