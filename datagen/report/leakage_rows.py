"""What can be known of an event without its words: the input of the leakage probe.

The features describe who speaks and where, not what is said. Left out on purpose is what content
brings with it: the words, their number and their length, and the spectrum of the event itself,
which tells words apart. A speaker is described by the mean spectrum of all that they say in a set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import cos, log2, log10, pi, sin
from typing import Any, Final

import numpy as np

from microturn.datagen.labels.dialogue import DialogueLabels, EventLabel, WordLabel
from microturn.datagen.labels.event_types import (
    BACKGROUND_SPEECH,
    DELEGATION,
    FORBIDDEN,
    INTERRUPTION,
    PAUSE,
    SELF_CORRECTION,
    SIDE_TALK,
    TIMED_CUE,
    TURN,
    USER_BACKCHANNEL,
)
from microturn.datagen.labels.voice_names import speaker_of, speed_of, transform_of
from microturn.model.streams.pcm import Audio

FEATURES: Final = (
    "voice",
    "spectrum",
    "speed",
    "level",
    "bandwidth",
    "room",
    "noise",
    "line",
    "time",
    "micro_turn",
    "before",
)
MEANINGS: Final = {
    "voice": "the speaker, and whether it is the user's own voice",
    "spectrum": "mean spectrum of the speaker",
    "speed": "speed of the recording, and how it is transformed, also against the user's",
    "level": "level of the recording at the microphone, also against the user's other words, in "
    "steps of 3 dB",
    "bandwidth": "low-pass of the microphone, telephone",
    "room": "room, reverberation, distance of the user",
    "noise": "kind of bed, SNR, echo, stretches, digital zero",
    "line": "clipping, drift, lost packets",
    "time": "time in the dialogue, events before it",
    "micro_turn": "place of the onset in its micro-turn",
    "before": "time since the agent began, since its last word, since the user's last word",
}
OWN: Final = "own"
BANDS_HZ: Final = (0, 200, 400, 700, 1100, 1600, 2200, 3000, 4000, 5000, 6000, 7000, 8000)
FRAME: Final = 512
MAX_FRAMES: Final = 8
LEVEL_STEP_DB: Final = 3.0
MAX_BEFORE_S: Final = 5.0
UTTERANCE_S: Final = 0.5  # a longer silence ends what the agent is saying
NEAR_END_S: Final = 2.0  # of a dialogue, in which a turn may be cut off
SAME_S: Final = 1e-3
TYPICAL_HZ: Final = 160.0
REQUESTS: Final = (TIMED_CUE, DELEGATION, SELF_CORRECTION)


@dataclass(frozen=True, kw_only=True)
class NuisanceRow:
    """One event: its kind, and numbers and names by feature."""

    kind: str
    dialogue: int
    numbers: dict[str, tuple[float, ...]]
    names: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        numbers = {name: [round(x, 5) for x in row] for name, row in self.numbers.items()}
        return {
            "kind": self.kind,
            "dialogue": self.dialogue,
            "numbers": numbers,
            "names": self.names,
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> NuisanceRow:
        numbers = {name: tuple(values) for name, values in row["numbers"].items()}
        return cls(kind=row["kind"], dialogue=row["dialogue"], numbers=numbers, names=row["names"])


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """An event as the probe sees it: from `at_s` on, or what ended there."""

    kind: str
    at_s: float
    words: tuple[WordLabel, ...]


def nuisance_rows(labels: DialogueLabels, voice: Audio) -> Iterator[NuisanceRow]:
    """Describe the events of a dialogue; `voice` is the user's part of the microphone."""
    channel, places, sound = _channel(labels), _names(labels), _Voice(labels, voice)
    for order, moment in enumerate(_moments(labels)):
        numbers = {**channel, **_timing(labels, moment, order)}
        names = dict(places)
        if moment.words:
            names["voice"] = _speaker(labels, moment.words[0])
        if moment.words and moment.words[0] in labels.words.user:
            numbers |= _sound(labels, moment, sound)
        yield NuisanceRow(kind=moment.kind, dialogue=labels.index, numbers=numbers, names=names)


# --- which events ------------------------------------------------------------------------------
def _moments(labels: DialogueLabels) -> Iterator[_Moment]:
    onsets = [e.start_s for e in labels.events if e.type == INTERRUPTION]
    for event in labels.events:
        kind = _kind(event, labels)
        if kind and not (kind == "turn" and any(abs(event.start_s - at) < SAME_S for at in onsets)):
            lane = labels.words.of("user" if event.speaker == "user" else "background")
            words = tuple(w for w in lane if event.start_s <= w.start_s < event.end_s)
            yield _Moment(kind=kind, at_s=event.start_s, words=words)
        if event.type == PAUSE or kind == "turn":
            at = event.start_s if event.type == PAUSE else event.end_s
            last = tuple(w for w in labels.words.user if abs(w.end_s - at) < SAME_S)
            yield _Moment(kind="pause" if event.type == PAUSE else "end", at_s=at, words=last)


def _kind(event: EventLabel, labels: DialogueLabels) -> str:
    match event.type, event.act:
        case (name, "stop") if name == INTERRUPTION:
            return _interruption(event, labels)
        case (name, "resume") if name == USER_BACKCHANNEL:
            return "backchannel"
        case (name, "respond") if name == TURN:
            return "turn"
        case (name, act) if name == SIDE_TALK:
            return "aside over the agent" if act == "resume" else "aside"
        case (name, act) if name == FORBIDDEN:
            return "forbidden request" if act == "refuse" else "request like a forbidden one"
        case (name, "resume") if name == BACKGROUND_SPEECH and event.speaker == "background":
            return "distant voice over the agent"
        case (name, act) if name in REQUESTS and act and event.speaker == "user":
            asked = act != "stay_silent" and not event.instant
            return "other request" if asked else ""
    return ""


def _interruption(event: EventLabel, labels: DialogueLabels) -> str:
    asks = any(
        other.act == "respond" and abs(other.start_s - event.start_s) < SAME_S
        for other in labels.events
    )
    if asks:
        return "interrupting question"
    unfinished = event.end_s > labels.duration_s - NEAR_END_S
    return "unfinished interruption" if unfinished else "stop phrase"


# --- what they are like ------------------------------------------------------------------------
def _speaker(labels: DialogueLabels, word: WordLabel) -> str:
    return OWN if word.voice == labels.voice else speaker_of(word.voice)


def _variation(voice: str) -> tuple[float, ...]:
    """Describe how a recording is varied: speed, and pitch, formants, intonation, each a log."""
    transform, speed = transform_of(voice), log2(speed_of(voice))
    if transform is None:
        return speed, 0.0, 0.0, 0.0, 0.0
    factors = (transform.pitch_hz / TYPICAL_HZ, transform.formants, transform.intonation)
    return speed, 1.0, *(log2(factor) for factor in factors)


def _names(labels: DialogueLabels) -> dict[str, str]:
    return {"room": str(labels.room.id), "noise": labels.channel.noise}


def _channel(labels: DialogueLabels) -> dict[str, tuple[float, ...]]:
    """Features that a whole dialogue has in common."""
    c, room = labels.channel, labels.room
    line, network = c.line, c.network
    user = next((t.distance_m for t in room.talkers if t.lane == "user"), room.near_m)
    volume = float(np.prod(room.size_m))
    return {
        "bandwidth": (c.low_pass_hz, float(line.telephone is not None)),
        "room": (room.rt60_s, room.measured_rt60_s, user, room.far_m, volume),
        "noise": (
            float(bool(c.noise)),
            c.snr_db or 0.0,
            float(c.echo_db is not None),
            c.echo_db or 0.0,
            float(len(c.stretches)),
            float(bool(c.digital_zero_s)),
            c.gain_db,
        ),
        "line": (
            line.clip_db or 0.0,
            line.drift_ppm or 0.0,
            network.loss_rate or 0.0,
            float(len(network.stalls_s)),
            float(len(network.missing_micro_turns)),
        ),
    }


def _timing(labels: DialogueLabels, moment: _Moment, order: int) -> dict[str, tuple[float, ...]]:
    phase = moment.at_s / labels.micro_turn_s % 1.0
    agent = [word for word in labels.words.agent if word.start_s < moment.at_s - SAME_S]
    user = [w.end_s for w in labels.words.user if w.end_s <= moment.at_s - SAME_S]
    began = _utterance_start(agent, moment.at_s)
    since = (began, max((w.start_s for w in agent), default=None), max(user, default=None))
    return {
        "time": (moment.at_s, float(order)),
        "micro_turn": (phase, sin(2 * pi * phase), cos(2 * pi * phase)),
        "before": tuple(
            MAX_BEFORE_S if time_s is None else min(moment.at_s - time_s, MAX_BEFORE_S)
            for time_s in since
        ),
    }


def _utterance_start(words: Sequence[WordLabel], at_s: float) -> float | None:
    """When the agent began what it was saying at a time; None if it was silent."""
    began: float | None = None
    last = at_s
    for word in sorted(words, key=lambda w: w.start_s, reverse=True):
        if last - word.end_s > UTTERANCE_S:
            break
        began = last = word.start_s
    return began


def _sound(labels: DialogueLabels, moment: _Moment, voice: _Voice) -> dict[str, tuple[float, ...]]:
    source = moment.words[0].source
    recording = [word for word in moment.words if word.source == source]
    level, others = voice.level_db(recording), voice.level_db_beside(recording)
    variation, own = _variation(moment.words[0].voice), _variation(labels.voice)
    return {
        "level": (_stepped(level), _stepped(level - others)),
        "speed": (*variation, *(a - b for a, b in zip(variation, own, strict=True))),
        "spectrum": voice.bands(moment.words[0]),
    }


def _stepped(level_db: float) -> float:
    """Round a level: words alone differ by a decibel or two behind a room and a low-pass."""
    return round(level_db / LEVEL_STEP_DB) * LEVEL_STEP_DB


class _Voice:
    """The sound of the user's words."""

    def __init__(self, labels: DialogueLabels, audio: Audio) -> None:
        self._audio, self._rate = audio, labels.sample_rate
        self._energy = {id(word): self._energy_of(word) for word in labels.words.user}
        own = [word for word in labels.words.user if word.voice == labels.voice]
        self._own = {id(word) for word in own}
        self._total = _sum(self._energy[id(word)] for word in own)

    def level_db(self, words: Sequence[WordLabel]) -> float:
        return _level_db(_sum(self._energy[id(word)] for word in words))

    def level_db_beside(self, words: Sequence[WordLabel]) -> float:
        """Return the level of the user's other words, or of these if there are none."""
        here = _sum(self._energy[id(word)] for word in words if id(word) in self._own)
        rest = (self._total[0] - here[0], self._total[1] - here[1])
        return _level_db(rest) if rest[1] > 0 else self.level_db(words)

    def bands(self, word: WordLabel) -> tuple[float, ...]:
        """Return the levels of frequency bands in dB, relative to all of them."""
        audio = self._piece(word)
        n = min(max(len(audio) // FRAME, 1), MAX_FRAMES)
        frames = np.resize(audio, n * FRAME).reshape(n, FRAME) * _window()
        power = np.square(np.abs(np.fft.rfft(frames, axis=1))).sum(axis=0)
        edges = np.searchsorted(np.fft.rfftfreq(FRAME, 1 / self._rate), BANDS_HZ)
        bands = np.add.reduceat(np.append(power, 0.0), np.minimum(edges, len(power)))[:-1]
        level = 10 * np.log10(np.maximum(bands, 1e-12))
        return tuple((level - level.mean()).tolist())

    def _piece(self, word: WordLabel) -> Audio:
        return self._audio[round(word.start_s * self._rate) : round(word.end_s * self._rate)]

    def _energy_of(self, word: WordLabel) -> tuple[float, int]:
        piece = self._piece(word)
        return float(np.dot(piece, piece)), len(piece)


def _sum(energies: Iterable[tuple[float, int]]) -> tuple[float, int]:
    energy, n = 0.0, 0
    for more, length in energies:
        energy, n = energy + more, n + length
    return energy, n


def _level_db(energy: tuple[float, int]) -> float:
    return 10 * log10(max(energy[0] / max(energy[1], 1), 1e-12))


@lru_cache(maxsize=1)
def _window() -> Audio:
    return np.hanning(FRAME).astype(np.float32)
