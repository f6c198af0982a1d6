"""What a dialogue must hold before a model is trained on it."""

from __future__ import annotations

import numpy as np

from microturn.model.streams import Lanes

AGAIN = "write it again as docs/architecture.md and the layout.json of the set describe it"


def check_lanes(lanes: Lanes, name: str, *, vocab_size: int) -> None:
    """Raise ValueError that names the dialogue and the lane where `lanes` would spoil a step.

    A shard of another program may hold anything: lanes of unequal length would be padded with
    idling and their labels shifted, a negative weight would be maximised.
    """
    n = len(lanes.missing_input)
    if lanes.missing_input.shape != (n,) or n == 0:
        raise ValueError(f"{name} has {n} micro-turns of missing input; {AGAIN}")
    for spec in lanes.layout.lane_specs:
        array = lanes[spec.name]
        wanted = (n, *spec.shape)
        if array.shape != wanted or array.dtype != spec.dtype:
            raise ValueError(
                f"{name}: lane {spec.name} is {array.dtype} {array.shape}, but {n} micro-turns of "
                f"this layout are {spec.dtype} {wanted}; {AGAIN}"
            )
        if spec.kind == "tokens" and array.size:
            low, high = int(array.min()), int(array.max())
            if low < 0 or high >= vocab_size:
                raise ValueError(
                    f"{name}: lane {spec.name} has token {low if low < 0 else high}, the "
                    f"tokenizer has 0 to {vocab_size - 1}; {AGAIN}"
                )
        if not spec.given:
            _check_weights(lanes, spec.name, (n, spec.positions), name)
    if not any(np.any(weight) for weight in lanes.weights.values()):
        raise ValueError(
            f"{name}: every weight is 0, so nothing can be learned from it; {AGAIN}, or leave it "
            "out of the set"
        )


def _check_weights(lanes: Lanes, lane: str, wanted: tuple[int, int], name: str) -> None:
    weight = lanes.weights[lane]
    if weight.shape != wanted or weight.dtype != np.float32:
        raise ValueError(
            f"{name}: {lane}_weight is {weight.dtype} {weight.shape}, but the lane needs float32 "
            f"{wanted}; {AGAIN}"
        )
    if not np.isfinite(weight).all():
        raise ValueError(f"{name}: {lane}_weight is not finite; {AGAIN}")
    if weight.size and weight.min() < 0:
        raise ValueError(
            f"{name}: {lane}_weight is negative ({weight.min():.3g}), which would train the model "
            f"away from what it should say; {AGAIN}"
        )
