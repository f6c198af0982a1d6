"""Dialogues that teach `heard` alone: what the agent does in them is no example."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from microturn.model.streams import Lanes
from microturn.training.reading.source import WrappedSource

HEARD = "heard"


class HeardAlone(WrappedSource):
    """A source whose other made lanes carry no loss weight."""

    def lanes(self, index: int) -> Lanes:
        lanes = super().lanes(index)
        weights = {
            lane: weight if lane == HEARD else np.zeros_like(weight)
            for lane, weight in lanes.weights.items()
        }
        return replace(lanes, weights=weights)
