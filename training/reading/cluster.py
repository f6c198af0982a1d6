"""Dialogues that a Ray cluster simulates, alone or as parts of a mix."""

from __future__ import annotations

from collections.abc import Mapping

from microturn.datagen.live import LiveSource
from microturn.datagen.live_on_ray import CarriedSource, DialoguesAhead
from microturn.model.streams import Lanes
from microturn.training.reading.mixture import MixedSource
from microturn.training.reading.source import Source


class PartsAhead:
    """Dialogues of a source that a cluster simulates some parts of; others are read here.

    on_cluster: the simulated parts by their number in the mix; 0 is a source that is none.
    """

    def __init__(
        self, source: Source, on_cluster: Mapping[int, LiveSource], *, n_ranks: int
    ) -> None:
        self.source = source
        self.parts = {
            number: DialoguesAhead(
                CarriedSource.of(part),
                workers=part.config.workers,
                address=part.config.ray_address,
                n_ranks=n_ranks,
            )
            for number, part in on_cluster.items()
        }
        self.size = sum(part.size for part in self.parts.values())

    def ask(self, index: int) -> bool:
        """Have a dialogue simulated; False where that is not for the cluster to do."""
        number, inner = self._find(index)
        if number not in self.parts:
            return False
        self.parts[number].ask(inner)
        return True

    def receive(self, index: int) -> Lanes:
        """Wait for a dialogue that was asked for, or read it."""
        number, inner = self._find(index)
        if number not in self.parts:
            return self.source.lanes(index)
        return self.parts[number].receive(inner)

    def _find(self, index: int) -> tuple[int, int]:
        return self.source.find(index) if isinstance(self.source, MixedSource) else (0, index)
