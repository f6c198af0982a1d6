"""Pieces of long dialogues."""

from __future__ import annotations

import numpy as np

from microturn.model.streams import Lanes

_HEARD_WITHIN_MS = 600  # words of `heard` come at most this long after their sound


def cropped(lanes: Lanes, n: int, *, seed: tuple[int, ...]) -> Lanes:
    """Return `n` consecutive micro-turns at a random moment of the seed; all of a shorter dialogue.

    Words that `heard` owes for sound before the piece carry no weight in it.
    """
    if lanes.n_micro_turns <= n:
        return lanes
    start = int(np.random.default_rng(seed).integers(lanes.n_micro_turns - n + 1))
    piece = lanes.map(lambda array: array[start : start + n])
    if start and "heard" in piece.weights:
        weight = piece.weights["heard"].copy()
        weight[: _HEARD_WITHIN_MS // lanes.layout.micro_turn_ms] = 0
        return Lanes(
            layout=piece.layout,
            arrays=piece.arrays,
            weights={**piece.weights, "heard": weight},
            missing_input=piece.missing_input,
        )
    return piece
