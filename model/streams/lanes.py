"""One dialogue as arrays by lane, and the members of a shard that store them.

Shapes: N micro-turns, P positions of a lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from microturn.model.streams import mel
from microturn.model.streams.layout import STREAMS, LaneSpec, StreamLayout

# Name under which shards store `missing_input`; the embedding of the model is called so, too.
MISSING_INPUT_ARRAY: Final = "late"

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Lanes:
    """One dialogue: all inputs and targets of the model."""

    layout: StreamLayout
    arrays: Arrays  # (N, *LaneSpec.shape) by lane
    weights: Mapping[str, NDArray[np.float32]]  # (N, P) loss weights, by made lane
    missing_input: NDArray[np.bool_]  # (N,) the sound of this micro-turn did not arrive in time

    def __getitem__(self, lane: str) -> NDArray[Any]:
        """Return the array of a lane."""
        return self.arrays[lane]

    @property
    def n_micro_turns(self) -> int:
        return len(self.missing_input)

    def head(self, n: int) -> Lanes:
        """Return the first `n` micro-turns."""
        return self.map(lambda array: array[:n])

    def map(self, function: Callable[[NDArray[Any]], NDArray[Any]]) -> Lanes:
        """Apply `function` to every array."""
        return Lanes(
            layout=self.layout,
            arrays={name: function(array) for name, array in self.arrays.items()},
            weights={name: function(array) for name, array in self.weights.items()},
            missing_input=function(self.missing_input),
        )

    def named_arrays(self) -> dict[str, NDArray[Any]]:
        """Return all arrays by their stored names, in the order of the stream."""
        named: dict[str, NDArray[Any]] = {MISSING_INPUT_ARRAY: self.missing_input}
        for spec in self.layout.lane_specs:
            named[spec.name] = self.arrays[spec.name]
            if not spec.given:
                named[spec.weight_array] = self.weights[spec.name]
        return named

    def members(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return the arrays of each .npz of a stored dialogue, by the member's name."""
        members: dict[str, dict[str, NDArray[Any]]] = {
            STREAMS: {MISSING_INPUT_ARRAY: self.missing_input}
        }
        for spec in self.layout.lane_specs:
            stored = members.setdefault(spec.member, {})
            stored[spec.array] = _stored(spec, self.arrays[spec.name])
            if not spec.given:
                members[STREAMS][spec.weight_array] = self.weights[spec.name]
        return members

    @classmethod
    def from_members(cls, layout: StreamLayout, members: Mapping[str, Arrays]) -> Lanes:
        """Invert `members`."""
        streams = members[STREAMS]
        return cls(
            layout=layout,
            arrays={spec.name: load_lane(spec, members[spec.member]) for spec in layout.lane_specs},
            weights={
                spec.name: np.asarray(streams[spec.weight_array]) for spec in layout.made_lanes
            },
            missing_input=np.asarray(streams[MISSING_INPUT_ARRAY]),
        )


def _stored(spec: LaneSpec, array: NDArray[Any]) -> NDArray[Any]:
    """Return the stored form of a lane: dMel ids two per byte, other kinds unchanged."""
    return mel.pack_nibbles(array) if spec.kind == "dmel" else array


def load_lane(spec: LaneSpec, member: Arrays) -> NDArray[Any]:
    """Read a lane from the arrays of its member."""
    array = np.asarray(member[spec.array])
    return mel.unpack_nibbles(array) if spec.kind == "dmel" else array
