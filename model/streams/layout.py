"""The micro-turn contract: which positions exist, in which order, and what time each one covers.

Everything that writes, reads, learns or serves a stream takes these numbers from `StreamLayout`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Final

LAYOUT_VERSION: Final = 1  # bump when the meaning of stored lanes changes
FRAME_MS: Final = 50  # one dMel frame, and one group of fine mel frames
N_MELS: Final = 80
FINE_FRAMES_PER_FRAME: Final = 4  # fine log-mel frames (80 Hz) in each 50 ms
PATCH_SIZE: Final = 40  # video patches are PATCH_SIZE x PATCH_SIZE pixels


class LayoutError(ValueError):
    """Two layouts that have to be equal are not, or a layout makes no sense."""


@dataclass(frozen=True, kw_only=True)
class StreamLayout:
    """Lanes of one micro-turn, in order: video, audio_in, text_in, heard, say, audio_out.

    The number of positions per micro-turn is constant, so a position index is also a time.
    Micro-turn `k` hears `[k, k+1)` micro-turns of wall clock; what it produces is played
    during `[k+1, k+2)`.
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
        for name in ("text_in_positions", "heard_positions", "say_positions"):
            if getattr(self, name) < 0:
                raise LayoutError(f"layout.{name}={getattr(self, name)} must not be negative")
        if min(self.video_rows, self.video_cols) < 0 or (not self.video_rows) != (
            not self.video_cols
        ):
            raise LayoutError(
                f"layout.video_rows={self.video_rows} and layout.video_cols={self.video_cols} must "
                "both be 0 or both be positive"
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
    def video_positions(self) -> int:
        return self.video_rows * self.video_cols

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

    @property
    def lane_sizes(self) -> dict[str, int]:
        """Positions of each lane in one micro-turn, in stream order."""
        return {
            "video": self.video_positions,
            "audio_in": self.audio_in_positions,
            "text_in": self.text_in_positions,
            "heard": self.heard_positions,
            "say": self.say_positions,
            "audio_out": self.audio_out_positions,
        }

    @property
    def lanes(self) -> dict[str, slice]:
        """Where each lane lies inside one micro-turn."""
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

    def duration_s(self, n_micro_turns: int) -> float:
        """Seconds that micro-turns last; `n * micro_turn_s` would round twice."""
        return n_micro_turns * self.micro_turn_ms / 1000

    def micro_turn_of(self, sample: int) -> int:
        """Index of the micro-turn during which `sample` sounds."""
        return sample // self.samples_per_micro_turn

    def n_micro_turns(self, n_samples: int) -> int:
        """Whole micro-turns that cover `n_samples`."""
        return -(-n_samples // self.samples_per_micro_turn)

    # --- identity ----------------------------------------------------------------------------
    def to_dict(self) -> dict[str, int]:
        return {"layout_version": LAYOUT_VERSION, **asdict(self)}

    @property
    def hash(self) -> str:
        """Short digest that shards and checkpoints carry."""
        text = json.dumps(self.to_dict(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def save(self, path: str | Path) -> None:
        text = json.dumps({**self.to_dict(), "hash": self.hash}, indent=2, sort_keys=True)
        Path(path).write_text(text + "\n")

    @classmethod
    def from_dict(cls, values: dict[str, int], *, source: str) -> StreamLayout:
        """Rebuild a layout; `source` names the file in errors."""
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
        return cls(**{name: values[name] for name in names if name in values})

    @classmethod
    def load(cls, path: str | Path) -> StreamLayout:
        try:
            values = json.loads(Path(path).read_text())
        except json.JSONDecodeError as error:
            raise LayoutError(f"{path}: not a layout file ({error.msg})") from error
        if not isinstance(values, dict):
            raise LayoutError(f"{path}: not a layout file")
        return cls.from_dict(values, source=str(path))

    def check_same(self, other: StreamLayout, this_name: str, other_name: str) -> None:
        """Raise LayoutError that names both owners and the first field that differs."""
        for name, mine in self.to_dict().items():
            theirs = other.to_dict()[name]
            if mine != theirs:
                raise LayoutError(
                    f"{this_name} has layout.{name}={mine} but {other_name} has {theirs}; "
                    "use data and checkpoint of one layout"
                )
