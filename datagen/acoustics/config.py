"""Configuration of the signal path between talkers and the agent: rooms, microphone, line, network.

`ChannelConfig` applies to every dialogue; each effect of `AcousticsConfig` is off until its
probability is set.
"""

from dataclasses import dataclass, field

from microturn.configs.command import option

LAWS = ("mu", "a")
MAX_DISTANCE_M = 4.0  # that most rooms have between two places
CONCEALMENTS = ("pitch", "repeat", "zero")


@dataclass(frozen=True, kw_only=True)
class RoomsConfig:
    """The bank of simulated rooms, built once and cached."""

    n_rooms: int = option(12, "rooms in the bank")
    n_far: int = option(6, "far positions per room; no two talkers of a dialogue share one")
    seed: int = option(7, "seed of the bank")
    rt60_s: tuple[float, float] = option((0.15, 0.45), "range of the reverberation time (RT60)")
    near_m: tuple[float, float] = option((0.25, 0.8), "distance of the user from the microphone")
    far_m: tuple[float, float] = option((1.8, 4.0), "distance of background voices")
    beside_m: tuple[float, float] = option((0.6, 1.6), "distance of a person beside the user")
    loudspeaker_m: tuple[float, float] = option(
        (0.15, 0.9), "distance of the loudspeaker that plays the agent's voice"
    )
    method: str = option(
        "images", "images: image sources only; tail: low-order image sources and a stochastic tail"
    )
    max_order: int = option(
        24, "highest reflection order of method=images; 0: as high as the reverberation time needs"
    )
    tail_order: int = option(3, "reflection order of method=tail")
    max_response_s: float = option(0.35, "impulse responses are cut off after this time")

    def __post_init__(self) -> None:
        if self.method not in ("images", "tail"):
            raise ValueError(f"rooms.method={self.method!r} is not one of images, tail")
        if self.n_rooms < 1:
            raise ValueError(f"rooms.n_rooms={self.n_rooms} must be at least 1")
        if not 0 < self.max_response_s <= 0.5:
            raise ValueError(
                f"rooms.max_response_s={self.max_response_s} must be above 0 and at most 0.5 s"
            )
        if self.n_far < 2:
            raise ValueError(f"rooms.n_far={self.n_far} must be at least 2")
        for name in ("rt60_s", "near_m", "far_m", "beside_m", "loudspeaker_m"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(
                    f"rooms.{name}=[{low:g}, {high:g}] must be two positive numbers, lower first"
                )
            if name.endswith("_m") and low > MAX_DISTANCE_M:
                raise ValueError(
                    f"rooms.{name}=[{low:g}, {high:g}] does not fit into the rooms, which are at "
                    f"most 7 m long; begin it at {MAX_DISTANCE_M:g} m or less"
                )


@dataclass(frozen=True, kw_only=True)
class ChannelConfig:
    """The microphone channel of every dialogue; ranges are uniform, probabilities per dialogue."""

    low_pass_hz: tuple[float, float] = option((3400.0, 8000.0), "cutoff of the microphone's band")
    gain_db: tuple[float, float] = option((-8.0, 6.0), "gain of the microphone")
    noise_probability: float = option(0.6, "probability of a noise bed")
    noise_kinds: tuple[str, ...] = option(
        ("white", "pink", "brown", "hum", "babble", "music"), "kinds of bed, drawn uniformly"
    )
    snr_db: tuple[float, float] = option((10.0, 35.0), "active user level over the noise bed")
    overlay_probability: float = option(0.35, "probability of background voices over the dialogue")
    background_db: tuple[float, float] = option(
        (-24.0, -10.0), "level of a background voice relative to the user"
    )
    echo_probability: float = option(0.25, "probability of the agent's echo in the microphone")
    echo_db: tuple[float, float] = option((-45.0, -28.0), "gain of the echo")
    echo_ms: tuple[float, float] = option((20.0, 150.0), "delay of the echo")
    zero_probability: float = option(0.15, "probability of a span of digital silence")
    zero_s: tuple[float, float] = option((0.5, 2.0), "length of the span of digital silence")
    dither_db: float = option(-88.0, "noise floor of every dialogue, dB re full scale")


@dataclass(frozen=True, kw_only=True)
class PlacesConfig:
    """The positions of talkers."""

    far_user_probability: float = option(0.0, "probability that the user speaks from far away")
    third_voice_probability: float = option(
        0.0, "probability of a person beside the user who speaks, but not to the agent"
    )
    third_voice_db: tuple[float, float] = option(
        (-14.0, -4.0), "level of that voice relative to the user"
    )


@dataclass(frozen=True, kw_only=True)
class StretchConfig:
    """Stretches of noise or music within a dialogue; each is an event of the timeline."""

    probability: float = option(0.0, "probability that a dialogue has stretches")
    max_stretches: int = option(2, "largest number of stretches in a dialogue")
    kinds: tuple[str, ...] = option(
        ("pink", "brown", "hum", "babble", "music"),
        "kinds of bed, drawn uniformly; recorded, recorded_music need acoustics.recordings",
    )
    length_s: tuple[float, float] = option((1.0, 5.0), "length of a stretch")
    snr_db: tuple[float, float] = option((5.0, 25.0), "active user level over the stretch")


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig:
    """Folders of user recordings, in any format and rate that libsndfile reads."""

    noise: str = option("", "folder of noise recordings; enables the kind of bed `recorded`")
    music: str = option("", "folder of music recordings; enables the kind `recorded_music`")


@dataclass(frozen=True, kw_only=True)
class EchoConfig:
    """The agent's echo (channel.echo_*) through a loudspeaker, a room and an echo canceller."""

    room_probability: float = option(
        0.0, "probability that an echo passes through a room response; each echo is an event"
    )
    distortion: tuple[float, float] = option(
        (0.0, 1.5), "drive of the loudspeaker; 0: linear, 2: a cheap loudspeaker at full volume"
    )
    cancel_probability: float = option(0.0, "probability of an echo canceller after a room echo")
    erle_db: tuple[float, float] = option((12.0, 35.0), "ERLE of the converged canceller")
    converge_s: tuple[float, float] = option(
        (0.3, 2.0), "agent speech after which the canceller reaches 63 % of its ERLE"
    )
    taps_ms: float = option(64.0, "filter length of the canceller; later echo is not cancelled")


@dataclass(frozen=True, kw_only=True)
class LineConfig:
    """Line faults of the microphone signal: clipping, clock drift, telephone, in this order."""

    clip_probability: float = option(0.0, "probability that the microphone is overdriven")
    clip_db: tuple[float, float] = option((1.0, 9.0), "excess of the peak over full scale")
    drift_probability: float = option(0.0, "probability of clock drift of the user's sound card")
    drift_ppm: tuple[float, float] = option((-120.0, 120.0), "clock drift in parts per million")
    telephone_probability: float = option(0.0, "probability of a telephone call (8 kHz, G.711)")
    telephone_hz: tuple[float, float] = option((300.0, 3400.0), "band of the telephone")
    laws: tuple[str, ...] = option(LAWS, "companding laws of G.711, drawn uniformly")

    def __post_init__(self) -> None:
        _known(self.laws, LAWS, "acoustics.line.laws")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Loss and stalls of the user's packets."""

    packet_ms: float = option(20.0, "length of a packet")
    loss_probability: float = option(0.0, "probability that a dialogue loses single packets")
    loss_rate: tuple[float, float] = option((0.005, 0.06), "share of lost packets")
    loss_rates: tuple[float, ...] = option(
        (), "values to draw the share from, each as likely; empty: uniform in loss_rate"
    )
    burst: tuple[float, float] = option((1.0, 2.0), "mean length of a burst in packets")
    max_burst: int = option(3, "longest burst in packets; short bursts keep words intelligible")
    concealments: tuple[str, ...] = option(
        CONCEALMENTS, "packet loss concealment of the receiver, drawn uniformly"
    )
    stall_probability: float = option(
        0.0, "probability of stalls; a stall is an event, its micro-turns are marked <late>"
    )
    stall_s: tuple[float, float] = option((0.2, 1.0), "length of a stall")
    max_stalls: int = option(2, "largest number of stalls in a dialogue")
    missing_share: float = option(
        0.5, "a micro-turn is missing input (<late>) when at least this share of it is lost"
    )

    def __post_init__(self) -> None:
        _known(self.concealments, CONCEALMENTS, "acoustics.network.concealments")
        if not self.packet_ms > 0:
            raise ValueError(f"acoustics.network.packet_ms={self.packet_ms} must be positive")
        if any(not 0 <= rate < 1 for rate in self.loss_rates):
            raise ValueError(
                f"acoustics.network.loss_rates={list(self.loss_rates)} must be at least 0 and "
                "below 1"
            )
        if not 0 < self.missing_share <= 1:
            raise ValueError(
                f"acoustics.network.missing_share={self.missing_share} must be above 0 and at "
                "most 1"
            )


@dataclass(frozen=True, kw_only=True)
class AcousticsConfig:
    """Positions, stretches of noise, echo path, line and network; see docs/acoustics.md."""

    places: PlacesConfig = field(default_factory=PlacesConfig)
    stretch: StretchConfig = field(default_factory=StretchConfig)
    recordings: RecordingsConfig = field(default_factory=RecordingsConfig)
    echo: EchoConfig = field(default_factory=EchoConfig)
    line: LineConfig = field(default_factory=LineConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


def _known(values: tuple[str, ...], known: tuple[str, ...], key: str) -> None:
    if not values:
        raise ValueError(f"{key} is empty; known values are {', '.join(known)}")
    for value in values:
        if value not in known:
            raise ValueError(f"{key} has {value!r}; known values are {', '.join(known)}")
