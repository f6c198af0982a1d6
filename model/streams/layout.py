"""The micro-turn contract: the positions of a micro-turn, their order, and the time of each.

Simulation, training, sessions and evaluation take these numbers from `StreamLayout`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

LAYOUT_VERSION: Final = 1  # bump when the meaning of stored lanes changes
FRAME_MS: Final = 50  # one dMel frame, and one group of fine mel frames
N_MELS: Final = 80
FINE_FRAMES_PER_FRAME: Final = 4  # fine log-mel frames (80 Hz) in each 50 ms
PATCH_SIZE: Final = 40  # patches of a frame are PATCH_SIZE x PATCH_SIZE pixels
STREAMS: Final = "streams.npz"  # member of a stored dialogue: token lanes and loss weights
FEATURES: Final = "features.npz"  # member of a stored dialogue: lanes of sound
FRONT_ENDS: Final = ("audio_in", "text_in")  # lanes computed from sound and text; others come ready
# Token lanes of the first version: shards hold even their empty arrays.
STORED_EMPTY: Final = ("text_in", "heard", "say")
# The model has one front end of sound, with its missing input, and one flow head.
ONLY_LANE: Final = {"dmel": "audio_in", "mel": "audio_out"}

LaneKind = Literal["frames", "dmel", "tokens", "mel"]


class LayoutError(ValueError):
    """Layouts that must be equal differ, or a layout or an array of a lane is invalid."""


@dataclass(frozen=True, kw_only=True)
class LaneSpec:
    """One lane: its positions in a micro-turn, its direction, and its array in a dialogue.

    | kind | `shape`, one micro-turn in memory | in a shard |
    |---|---|---|
    | `frames` | (H, W, 3) uint8, an RGB frame cut into a grid of patches | `frames` of NAME.npz |
    | `dmel` | (F, 80) uint8, bin ids | NAME of features.npz, two ids per byte |
    | `tokens` | (P,) int32, token ids | NAME of streams.npz |
    | `mel` | (4 F, 80) uint8, levels of the fine log-mel | NAME of features.npz |

    Zeros are an idle lane of any kind: `<idle>`, silence, black.
    """

    name: str
    kind: LaneKind
    given: bool  # an input; otherwise an output of the model, with loss weights in the shard
    positions: int
    shape: tuple[int, ...]
    grid: tuple[int, int] = (0, 0)  # rows and columns of patches in a frame

    @classmethod
    def tokens(cls, name: str, positions: int, *, given: bool) -> LaneSpec:
        """Describe a lane of token ids."""
        return cls(name=name, kind="tokens", given=given, positions=positions, shape=(positions,))

    @classmethod
    def frames(cls, name: str, rows: int, cols: int) -> LaneSpec:
        """Describe a lane of frames; its fields of the layout are NAME_rows and NAME_cols."""
        shape = (rows * PATCH_SIZE, cols * PATCH_SIZE, 3)
        grid = (rows, cols)
        return cls(
            name=name, kind="frames", given=True, positions=rows * cols, shape=shape, grid=grid
        )

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.int32 if self.kind == "tokens" else np.uint8)

    @property
    def member(self) -> str:
        """File of a stored dialogue that holds the lane."""
        if self.kind == "frames":
            return f"{self.name}.npz"
        return STREAMS if self.kind == "tokens" else FEATURES

    @property
    def array(self) -> str:
        """Name of the lane's array in its file."""
        return "frames" if self.kind == "frames" else self.name

    @property
    def weight_array(self) -> str:
        """Name of the loss weights of a made lane in streams.npz."""
        return f"{self.name}_weight"

    def check(self) -> None:
        """Raise LayoutError for an invalid number of positions."""
        if self.kind == "frames":
            rows, cols = self.grid
            if min(rows, cols) < 0 or (not rows) != (not cols):
                raise LayoutError(
                    f"layout.{self.name}_rows={rows} and layout.{self.name}_cols={cols} must both "
                    "be 0 or both be positive"
                )
        elif self.positions < 0:
            raise LayoutError(f"layout.{self.name}_positions={self.positions} must not be negative")

    def idle(self, n: int) -> NDArray[Any]:
        """Return `n` micro-turns of the idle lane."""
        return np.zeros((n, *self.shape), self.dtype)

    def check_array(self, array: NDArray[Any], n: int) -> None:
        """Raise LayoutError unless `array` is `n` micro-turns (or rows) of the lane."""
        rows, cols = self.grid
        if self.kind == "frames" and not self.positions:
            raise LayoutError(
                f"there are {self.name} frames but layout.{self.name}_rows and "
                f"layout.{self.name}_cols are 0"
            )
        expected = (n, *self.shape)
        if array.shape != expected or array.dtype != self.dtype:
            size = f"layout.{self.name}_rows={rows} and layout.{self.name}_cols={cols} need"
            raise LayoutError(
                f"{self.name} is {array.dtype} {array.shape} but "
                f"{size if self.kind == 'frames' else 'the layout needs'} {self.dtype} {expected}"
            )


@dataclass(frozen=True, kw_only=True)
class StreamLayout:
    """Lanes of one micro-turn, in order: video, audio_in, text_in, heard, say, audio_out.

    `declared_lanes` is the table of lanes; everything else loops over it.
    The number of positions per micro-turn is constant, so a position index is also a time.
    Micro-turn `k` reads `[k, k+1)` micro-turns of wall clock; its output is played during
    `[k+1, k+2)`.
    """

    sample_rate: int = field(default=16_000, metadata={"help": "samples per second of all audio"})
    micro_turn_ms: int = field(default=200, metadata={"help": "length of one micro-turn"})
    video_rows: int = field(default=0, metadata={"help": "rows of 40x40 patches, 0: no video"})
    video_cols: int = field(default=0, metadata={"help": "columns of 40x40 patches, 0: no video"})
    audio_in_group: int = field(
        default=1, metadata={"help": "50 ms dMel frames stacked into one input position"}
    )
    text_in_positions: int = field(default=2, metadata={"help": "input text tokens per micro-turn"})
    heard_positions: int = field(
        default=2, metadata={"help": "transcript tokens of the user per micro-turn"}
    )
    say_positions: int = field(
        default=2, metadata={"help": "tokens of the agent's own words per micro-turn"}
    )
    audio_out_group: int = field(
        default=1, metadata={"help": "50 ms pieces of output mel made by one position"}
    )

    def __post_init__(self) -> None:
        if self.sample_rate * FRAME_MS % 1000:
            raise LayoutError(
                f"layout.sample_rate={self.sample_rate} gives no whole number of samples in "
                f"{FRAME_MS} ms; use a multiple of {1000 // FRAME_MS}"
            )
        if self.micro_turn_ms <= 0 or self.micro_turn_ms % FRAME_MS:
            raise LayoutError(
                f"layout.micro_turn_ms={self.micro_turn_ms} must be a multiple of {FRAME_MS}"
            )
        for name in ("audio_in_group", "audio_out_group"):
            group = getattr(self, name)
            if group < 1 or self.frames_per_micro_turn % group:
                raise LayoutError(
                    f"layout.{name}={group} must divide the {self.frames_per_micro_turn} frames "
                    "of a micro-turn"
                )
        for spec in self.declared_lanes:
            spec.check()
            if ONLY_LANE.get(spec.kind, spec.name) != spec.name:
                raise LayoutError(
                    f"lane {spec.name} is a second lane of kind {spec.kind}, and the model has "
                    f"one, {ONLY_LANE[spec.kind]}; make it a lane of frames or tokens"
                )
        if self.say_positions < 1:
            raise LayoutError("layout.say_positions must be at least 1: the agent has to speak")

    # --- sizes -------------------------------------------------------------------------------
    @property
    def samples_per_micro_turn(self) -> int:
        return self.sample_rate * self.micro_turn_ms // 1000

    @property
    def samples_per_frame(self) -> int:
        """Samples in one 50 ms dMel hop."""
        return self.sample_rate * FRAME_MS // 1000

    @property
    def frames_per_micro_turn(self) -> int:
        """dMel frames in a micro-turn."""
        return self.micro_turn_ms // FRAME_MS

    @property
    def fine_frames_per_micro_turn(self) -> int:
        """Fine log-mel frames in a micro-turn."""
        return self.frames_per_micro_turn * FINE_FRAMES_PER_FRAME

    @property
    def n_mels(self) -> int:
        return N_MELS

    @property
    def audio_in_positions(self) -> int:
        return self.frames_per_micro_turn // self.audio_in_group

    @property
    def audio_out_positions(self) -> int:
        return self.frames_per_micro_turn // self.audio_out_group

    @property
    def patch_frames(self) -> int:
        """Fine mel frames made by one audio_out position."""
        return self.audio_out_group * FINE_FRAMES_PER_FRAME

    @property
    def patch_dim(self) -> int:
        """Numbers sampled by the flow head at one audio_out position."""
        return self.patch_frames * N_MELS

    # --- lanes -------------------------------------------------------------------------------
    @cached_property
    def declared_lanes(self) -> tuple[LaneSpec, ...]:
        """All lanes of this version in stream order, given ones first.

        This is the one table of lanes. A new lane is an entry here and fields for its size; it is
        absent by default, and the fields carry `metadata={"added": True}` (see `to_dict`).
        """
        fine = (self.fine_frames_per_micro_turn, N_MELS)
        return (
            LaneSpec.frames("video", self.video_rows, self.video_cols),
            LaneSpec(
                name="audio_in",
                kind="dmel",
                given=True,
                positions=self.audio_in_positions,
                shape=(self.frames_per_micro_turn, N_MELS),
            ),
            LaneSpec.tokens("text_in", self.text_in_positions, given=True),
            LaneSpec.tokens("heard", self.heard_positions, given=False),
            LaneSpec.tokens("say", self.say_positions, given=False),
            LaneSpec(
                name="audio_out",
                kind="mel",
                given=False,
                positions=self.audio_out_positions,
                shape=fine,
            ),
        )

    @cached_property
    def lane_specs(self) -> tuple[LaneSpec, ...]:
        """Lanes of this layout in stream order, without absent ones: those without positions.

        Those of STORED_EMPTY stay.
        """
        return tuple(s for s in self.declared_lanes if s.positions or s.name in STORED_EMPTY)

    @cached_property
    def given_lanes(self) -> tuple[LaneSpec, ...]:
        """Input lanes: the leading positions of a micro-turn."""
        return tuple(spec for spec in self.lane_specs if spec.given)

    @cached_property
    def made_lanes(self) -> tuple[LaneSpec, ...]:
        """Output lanes, made position by position."""
        return tuple(spec for spec in self.lane_specs if not spec.given)

    def lane(self, name: str) -> LaneSpec:
        """Return a declared lane; an absent one has 0 positions."""
        for spec in self.declared_lanes:
            if spec.name == name:
                return spec
        names = ", ".join(spec.name for spec in self.declared_lanes)
        raise LayoutError(f"there is no lane {name}; the lanes are {names}")

    @cached_property
    def ready_lanes(self) -> tuple[LaneSpec, ...]:
        """Input lanes that come as arrays, such as frames; sound and text have front ends."""
        return tuple(spec for spec in self.given_lanes if spec.name not in FRONT_ENDS)

    def check_ready(self, name: str, array: NDArray[Any], n: int) -> None:
        """Raise LayoutError unless `array` is `n` micro-turns (or rows) of a ready lane."""
        spec = self.lane(name)
        if name in FRONT_ENDS or not spec.given:
            raise LayoutError(
                f"lane {name} is computed from sound or text, or made by the model; leave it out"
            )
        spec.check_array(array, n)

    @cached_property
    def members(self) -> frozenset[str]:
        """Files of a stored dialogue that hold its lanes."""
        return frozenset(spec.member for spec in self.lane_specs)

    @property
    def lane_sizes(self) -> dict[str, int]:
        """Positions of each lane in one micro-turn, in stream order."""
        return {spec.name: spec.positions for spec in self.declared_lanes}

    @property
    def lanes(self) -> dict[str, slice]:
        """Positions of each lane inside one micro-turn."""
        slices, start = {}, 0
        for name, size in self.lane_sizes.items():
            slices[name] = slice(start, start + size)
            start += size
        return slices

    @property
    def n_positions(self) -> int:
        return sum(self.lane_sizes.values())

    # --- time --------------------------------------------------------------------------------
    @property
    def micro_turn_s(self) -> float:
        """Length of one micro-turn in seconds."""
        return self.micro_turn_ms / 1000

    def duration_s(self, n_micro_turns: float) -> float:
        """Return the seconds that micro-turns last; `n * micro_turn_s` would round twice."""
        return n_micro_turns * self.micro_turn_ms / 1000

    def round_to_micro_turns(self, duration_s: float) -> int:
        """Return the whole micro-turns nearest to a duration; at least 0."""
        return max(0, round(duration_s * 1000 / self.micro_turn_ms))

    def micro_turn_of(self, sample: int) -> int:
        """Return the index of the micro-turn during which `sample` sounds."""
        return sample // self.samples_per_micro_turn

    def n_micro_turns(self, n_samples: int) -> int:
        """Count the whole micro-turns that cover `n_samples`."""
        return -(-n_samples // self.samples_per_micro_turn)

    # --- identity ----------------------------------------------------------------------------
    def to_dict(self) -> dict[str, int]:
        """Return the fields that are saved and hashed.

        A field that was added later is left out at its default: layouts without the lane keep the
        hash of their shards and checkpoints.
        """
        values = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if not f.metadata.get("added") or getattr(self, f.name) != f.default
        }
        return {"layout_version": LAYOUT_VERSION, **values}

    @property
    def hash(self) -> str:
        """Short digest stored in shards and checkpoints."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        text = json.dumps({**self.to_dict(), "hash": self.hash}, indent=2, sort_keys=True)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def from_dict(cls, values: dict[str, int], *, source: str) -> StreamLayout:
        """Build a layout from saved fields; `source` names the file in errors."""
        version = values.get("layout_version")
        if version != LAYOUT_VERSION:
            raise LayoutError(
                f"{source}: layout version {version}, this code reads {LAYOUT_VERSION}; "
                "make the data or checkpoint again with this version"
            )
        names = {f.name for f in fields(cls)}
        unknown = set(values) - names - {"layout_version", "hash"}
        if unknown:
            raise LayoutError(f"{source}: unknown layout field {sorted(unknown)[0]}")
        own = {name: values[name] for name in names if name in values}
        wrong = next((name for name, value in sorted(own.items()) if type(value) is not int), None)
        if wrong:
            raise LayoutError(f"{source}: {wrong} must be a whole number, not {own[wrong]!r}")
        try:
            return cls(**own)
        except LayoutError as error:
            raise LayoutError(f"{source}: {error}") from error

    @classmethod
    def load(cls, path: str | Path) -> StreamLayout:
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise LayoutError(f"{path}: not a layout file ({error})") from error
        if not isinstance(values, dict):
            raise LayoutError(f"{path}: not a layout file")
        return cls.from_dict(values, source=str(path))

    def check_same(self, other: StreamLayout, this_name: str, other_name: str) -> None:
        """Raise LayoutError, with both owners and the first differing field, unless equal."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if mine != theirs:
                raise LayoutError(
                    f"{this_name} has layout.{f.name}={mine} but {other_name} has {theirs}; "
                    "use data and checkpoint of one layout"
                )
