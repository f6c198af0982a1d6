"""Rooms, microphones, lines: what happens to sound between a talker and the agent.

`ChannelConfig` holds what every dialogue has; everything in `AcousticsConfig` is off until it is
given a probability.
"""

from dataclasses import dataclass, field

from microturn.configs.command import option

LAWS = ("mu", "a")
CONCEALMENTS = ("pitch", "repeat", "zero")


@dataclass(frozen=True, kw_only=True)
class RoomsConfig:
    """A bank of simulated rooms, built once and cached."""

    n_rooms: int = option(12, "rooms in the bank")
    n_far: int = option(6, "far places in each room; no two talkers of a dialogue share one")
    seed: int = option(7, "seed of the bank")
    rt60: tuple[float, float] = option((0.15, 0.45), "reverberation time in seconds")
    near_m: tuple[float, float] = option((0.25, 0.8), "distance of the user")
    far_m: tuple[float, float] = option((1.8, 4.0), "distance of background voices")
    beside_m: tuple[float, float] = option((0.6, 1.6), "distance of somebody beside the user")
    loudspeaker_m: tuple[float, float] = option(
        (0.15, 0.9), "distance of the loudspeaker that the agent is heard from"
    )
    method: str = option(
        "images", "images: image sources alone; tail: few of them and a stochastic tail, faster"
    )
    max_order: int = option(
        24, "highest reflection order of method=images; 0: all that the reverberation time needs"
    )
    tail_order: int = option(3, "reflection order of method=tail")
    longest: float = option(0.35, "seconds after which a response is cut off")

    def __post_init__(self) -> None:
        if self.method not in ("images", "tail"):
            raise ValueError(f"rooms.method={self.method!r} is not one of images, tail")
        if self.n_rooms < 1:
            raise ValueError(f"rooms.n_rooms={self.n_rooms} must be at least 1")
        if not 0 < self.longest <= 0.5:
            raise ValueError(f"rooms.longest={self.longest} must be above 0 and at most 0.5 s")
        if self.n_far < 2:
            raise ValueError(f"rooms.n_far={self.n_far} must be at least 2")


@dataclass(frozen=True, kw_only=True)
class ChannelConfig:
    """What the microphone adds; probabilities are per dialogue."""

    low_pass_hz: tuple[float, float] = option((3400.0, 8000.0), "drawn band limit of a user's side")
    gain_db: tuple[float, float] = option((-8.0, 6.0), "drawn level of the microphone")
    noise_probability: float = option(0.6, "how often there is a noise bed")
    noise_kinds: tuple[str, ...] = option(
        ("white", "pink", "brown", "hum", "babble", "music"), "kinds of bed, drawn evenly"
    )
    snr_db: tuple[float, float] = option((10.0, 35.0), "active user level over the noise bed")
    overlay_probability: float = option(0.35, "how often background voices overlay a dialogue")
    background_db: tuple[float, float] = option(
        (-24.0, -10.0), "level of a background voice relative to the user"
    )
    echo_probability: float = option(0.25, "how often the agent is heard in the microphone")
    echo_db: tuple[float, float] = option((-45.0, -28.0), "gain of that echo")
    echo_ms: tuple[float, float] = option((20.0, 150.0), "delay of that echo")
    zero_probability: float = option(
        0.15, "how often the microphone is digitally silent for a while"
    )
    zero_s: tuple[float, float] = option((0.5, 2.0), "length of such a stretch in seconds")
    dither_db: float = option(-88.0, "noise floor that is always there, dB re full scale")


@dataclass(frozen=True, kw_only=True)
class PlacesConfig:
    """Where talkers are."""

    far_user_probability: float = option(0.0, "how often the user speaks from a far place")
    third_voice_probability: float = option(
        0.0, "how often somebody beside the user speaks, as loud as a neighbour, not to the agent"
    )
    third_voice_db: tuple[float, float] = option(
        (-14.0, -4.0), "level of that voice relative to the user"
    )


@dataclass(frozen=True, kw_only=True)
class StretchConfig:
    """Noise or music that comes and goes within a dialogue, an event of the timeline each time."""

    probability: float = option(0.0, "how often a dialogue has such stretches")
    most: int = option(2, "most of them in one dialogue")
    kinds: tuple[str, ...] = option(
        ("pink", "brown", "hum", "babble", "music"),
        "kinds of bed, drawn evenly; recorded and recorded_music need a folder of yours",
    )
    length: tuple[float, float] = option((1.0, 5.0), "seconds")
    snr_db: tuple[float, float] = option((5.0, 25.0), "active user level over the stretch")


@dataclass(frozen=True, kw_only=True)
class RecordingsConfig:
    """Folders of your own recordings, any format and rate that libsndfile reads."""

    noise: str = option("", "folder of noises: makes the kind of bed `recorded` known")
    music: str = option("", "folder of music: makes the kind of bed `recorded_music` known")


@dataclass(frozen=True, kw_only=True)
class EchoConfig:
    """The echo of the agent (channel.echo_*) by way of a loudspeaker, a room and a canceller."""

    room_probability: float = option(
        0.0, "how often an echo comes through the response of the room; an event each time"
    )
    distortion: tuple[float, float] = option(
        (0.0, 1.5), "drawn drive of the loudspeaker; 0 is linear, 2 is a cheap one turned up"
    )
    cancel_probability: float = option(
        0.0, "how often a canceller takes such an echo down to its residue"
    )
    erle_db: tuple[float, float] = option((12.0, 35.0), "by how much, once it has converged")
    converge: tuple[float, float] = option(
        (0.3, 2.0), "seconds of the agent's speech after which 63 % of that is reached"
    )
    taps_ms: float = option(64.0, "length of the canceller; what comes later stays")


@dataclass(frozen=True, kw_only=True)
class LineConfig:
    """What happens to the whole microphone signal on its way, in this order."""

    clip_probability: float = option(0.0, "how often the microphone is overdriven")
    clip_db: tuple[float, float] = option((1.0, 9.0), "its peak lies so far above full scale")
    drift_probability: float = option(0.0, "how often the user's sound card runs fast or slow")
    drift_ppm: tuple[float, float] = option((-120.0, 120.0), "by so many millionths")
    telephone_probability: float = option(0.0, "how often the user calls by telephone, 8 kHz G.711")
    telephone_hz: tuple[float, float] = option((300.0, 3400.0), "its band")
    laws: tuple[str, ...] = option(LAWS, "companding laws of G.711, drawn evenly")

    def __post_init__(self) -> None:
        _known(self.laws, LAWS, "acoustics.line.laws")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Packets of the user that come too late or not at all."""

    packet_ms: float = option(20.0, "length of a packet")
    loss_probability: float = option(0.0, "how often a dialogue loses single packets")
    loss_rate: tuple[float, float] = option((0.005, 0.06), "share of them")
    loss_rates: tuple[float, ...] = option(
        (), "shares of which one is drawn instead, each as likely; none: from loss_rate"
    )
    burst: tuple[float, float] = option((1.0, 2.0), "mean number lost in a row")
    longest_burst: int = option(3, "most lost in a row: words stay intelligible")
    concealments: tuple[str, ...] = option(
        CONCEALMENTS, "what the receiver fills holes with, drawn evenly"
    )
    stall_probability: float = option(
        0.0, "how often nothing arrives for a while: an event, and micro-turns marked <late>"
    )
    stall: tuple[float, float] = option((0.2, 1.0), "length of a stall in seconds")
    most_stalls: int = option(2, "most of them in one dialogue")
    late_share: float = option(0.5, "a micro-turn of which so much is missing is marked <late>")

    def __post_init__(self) -> None:
        _known(self.concealments, CONCEALMENTS, "acoustics.network.concealments")
        if not self.packet_ms > 0:
            raise ValueError(f"acoustics.network.packet_ms={self.packet_ms} must be positive")
        if any(not 0 <= rate < 1 for rate in self.loss_rates):
            raise ValueError(
                f"acoustics.network.loss_rates={list(self.loss_rates)} must be at least 0 and "
                "below 1"
            )
        if not 0 < self.late_share <= 1:
            raise ValueError(
                f"acoustics.network.late_share={self.late_share} must be above 0 and at most 1"
            )


@dataclass(frozen=True, kw_only=True)
class AcousticsConfig:
    """Places, stretches of noise, echo path, line and network; see docs/acoustics.md."""

    places: PlacesConfig = field(default_factory=PlacesConfig)
    stretch: StretchConfig = field(default_factory=StretchConfig)
    recordings: RecordingsConfig = field(default_factory=RecordingsConfig)
    echo: EchoConfig = field(default_factory=EchoConfig)
    line: LineConfig = field(default_factory=LineConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)


def _known(values: tuple[str, ...], known: tuple[str, ...], key: str) -> None:
    if not values:
        raise ValueError(f"{key} is empty; known are {', '.join(known)}")
    for value in values:
        if value not in known:
            raise ValueError(f"{key} has {value!r}; known are {', '.join(known)}")
