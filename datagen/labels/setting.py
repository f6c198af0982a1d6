"""Labels of where a dialogue takes place: room, channel of the microphone, scene of the camera."""

from __future__ import annotations

from dataclasses import dataclass

SpanS = tuple[float, float]  # start and end in seconds
KeyS = tuple[float, float]  # time in seconds, value


@dataclass(frozen=True, kw_only=True)
class TalkerLabel:
    """A voice in the room and its position."""

    lane: str
    voice: str
    room: int
    place: str
    distance_m: float
    flight_ms: float
    level_db: tuple[float, ...]  # of each of its clips


@dataclass(frozen=True, kw_only=True)
class RoomLabel:
    """A simulated room."""

    id: int
    size_m: tuple[float, ...]
    rt60_s: float  # as drawn
    measured_rt60_s: float  # of its responses
    near_m: float
    far_m: float
    talkers: tuple[TalkerLabel, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EchoPathLabel:
    """The path of the agent's voice to the microphone, with its canceller if there is one."""

    drive: float
    erle_db: float | None
    converge_s: float | None
    taps_ms: float | None
    loudspeaker_m: float
    lag_ms: float


@dataclass(frozen=True, kw_only=True)
class StretchLabel:
    """A bed of noise or music that sounds for a while."""

    kind: str
    file: str | None
    offset: float
    start_s: float
    end_s: float
    snr_db: float


@dataclass(frozen=True, kw_only=True)
class TelephoneLabel:
    """A telephone line."""

    law: str
    hz: tuple[float, float]
    sample_rate: int


@dataclass(frozen=True, kw_only=True)
class LineLabel:
    """Faults of the line; None for a fault that it does not have."""

    clip_db: float | None = None
    drift_ppm: float | None = None
    telephone: TelephoneLabel | None = None


@dataclass(frozen=True, kw_only=True)
class NetworkLabel:
    """Lost packets, and micro-turns whose input did not arrive in time."""

    packet_ms: float = 20.0
    loss_rate: float | None = None
    burst: float | None = None  # mean length in packets
    concealment: str = ""
    lost_s: tuple[SpanS, ...] = ()
    stalls_s: tuple[SpanS, ...] = ()
    missing_micro_turns: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ChannelLabel:
    """Everything between a voice and the samples of the microphone."""

    low_pass_hz: float = 8000.0
    gain_db: float = 0.0
    noise: str = ""  # kind of bed; empty for none
    noise_offset: float | None = None
    noise_file: str | None = None
    snr_db: float | None = None
    echo_db: float | None = None
    echo_ms: float | None = None
    echo_path: EchoPathLabel | None = None
    digital_zero_s: tuple[SpanS, ...] = ()
    stretches: tuple[StretchLabel, ...] = ()
    line: LineLabel = LineLabel()
    network: NetworkLabel = NetworkLabel()


@dataclass(frozen=True, kw_only=True)
class FigureLabel:
    """An action of the figure in front of the camera."""

    action: str
    phase: tuple[KeyS, ...]
    blend: tuple[KeyS, ...]


@dataclass(frozen=True, kw_only=True)
class BoardLabel:
    """A sign on the board: it begins to appear, is complete, and is gone."""

    text: str
    start_s: float
    ready_s: float
    end_s: float
    how: str


@dataclass(frozen=True, kw_only=True)
class SceneLabel:
    """What the camera sees."""

    figure: tuple[FigureLabel, ...]
    board: tuple[BoardLabel, ...]
