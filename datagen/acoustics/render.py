"""Renders a script to audio: the microphone and the agent's voice, on one clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from microturn.datagen.acoustics import mix
from microturn.datagen.acoustics.conditions import AcousticConditions, Stretch
from microturn.datagen.acoustics.echo import EchoPath, Loudspeaker
from microturn.datagen.acoustics.line import through
from microturn.datagen.acoustics.network import concealed
from microturn.datagen.acoustics.noise import NoiseBeds
from microturn.datagen.acoustics.rooms import load_bank
from microturn.datagen.acoustics.talkers import TalkerPosition, talker_positions
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.waveform import joined
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import Clip, Script
from microturn.datagen.labels.setting import (
    ChannelLabel,
    EchoPathLabel,
    RoomLabel,
    SpanS,
    StretchLabel,
)
from microturn.model.streams.levels import CUT_FADE_S, faded_out
from microturn.model.streams.pcm import Audio, Pcm16, to_pcm16

NOMINAL_DB = -26.0  # level that noise is measured against when the user says nothing
STRETCH_FADE_S = 0.05  # fade of a stretch of noise at both ends, against clicks
MAX_FILTERS = 256
NO_DITHER_DB = -120.0  # a hundredth of a step of 16 bits
SPAN_JOIN = 16_000  # samples; converting a shorter gap costs less than one more span
RECYCLED_BYTES = 31 << 20  # below the 32 MiB up to which glibc raises its threshold


@dataclass(frozen=True, kw_only=True)
class RenderedAudio:
    """Both channels as 16-bit samples, the stems of the microphone, and their description."""

    user: Pcm16
    agent: Pcm16
    missing_input: npt.NDArray[np.bool_]  # (micro-turns,) whose input does not arrive in time
    stems: dict[str, Audio]  # only the user's voice unless the configuration has stems=true
    room: RoomLabel
    channel: ChannelLabel
    level: float  # power of the user's voice, which noise is measured against
    limit: np.float32  # gain that keeps the microphone from clipping
    peak: float  # of the microphone before line and network


class Renderer:
    """Renders scripts; holds the rooms, filters and beds that dialogues share."""

    def __init__(self, config: DatagenConfig, rooms: Path, *, beds: NoiseBeds) -> None:
        self._config = config
        self._rate = config.layout.sample_rate
        self._rooms = load_bank(rooms)
        self._beds = beds
        self._filters: dict[tuple[int, str, int, int], mix.Filter] = {}
        self._loudspeakers: dict[tuple[int, int], Loudspeaker] = {}
        _recycle_memory()
        self._silence = np.zeros(config.n_samples, np.float32)
        self._silence.flags.writeable = False

    def render(
        self, recipe: Recipe, script: Script, *, conditions: AcousticConditions
    ) -> RenderedAudio:
        n, channel = self._config.n_samples, recipe.channel
        positions = self.positions(recipe, script, conditions)
        agent = self._dry(script.clips, "agent", n)
        gain = np.float32(10 ** (channel.gain_db / 20))
        voice = self._wet(positions[:1], channel.low_pass_hz, gain)
        spans = [(word.start_sample, word.end_sample) for word in script.timeline.user]
        level = mix.active_power(voice, spans) or 10 ** (NOMINAL_DB / 10) * float(gain) ** 2
        microphone = mix.Mixture(voice, silence=self._silence, keep=self._config.stems)
        microphone.add("background", self._wet(positions[1:], channel.low_pass_hz, gain))
        microphone.add("echo", self._echo(recipe, conditions, agent))
        microphone.add("noise", self._noise(recipe, level))
        microphone.add("dither", self._dither(recipe, n))
        if conditions.stretches:
            microphone.add("stretches", self._stretches(conditions, level, n))
        zeroed = self.zeroed(recipe, script)
        microphone.zero(zeroed)
        limit = microphone.limit()
        peak = float(np.abs(microphone.total).max(initial=0.0))
        if not (conditions.line.is_clean and not conditions.network.lost):
            microphone.add("line", self._line(conditions, microphone.total))
        return RenderedAudio(
            user=to_pcm16(microphone.total),
            agent=mix.to_pcm16_within(agent, _spans(script.clips, "agent")),
            missing_input=self._missing_input(conditions),
            stems=microphone.stems,
            room=self._room_label(recipe, positions),
            channel=self._channel_label(recipe, conditions, zeroed),
            level=level,
            limit=limit,
            peak=peak,
        )

    def positions(
        self, recipe: Recipe, script: Script, conditions: AcousticConditions
    ) -> list[TalkerPosition]:
        """Return the user's position, then those of other voices."""
        return talker_positions(
            recipe.channel, script.clips, rooms=self._rooms, far_user=conditions.far_user
        )

    def still(self, recipe: Recipe, conditions: AcousticConditions, *, level: float) -> Audio:
        """Return what sounds whoever speaks: noise, its floor and its stretches, a new array."""
        n = self._config.n_samples
        still = self._noise(recipe, level) + self._dither(recipe, n)
        return still + self._stretches(conditions, level, n) if conditions.stretches else still

    def speaker_response(self, recipe: Recipe) -> Audio:
        """Return the response of the room of a dialogue to the agent's loudspeaker."""
        return self._rooms[recipe.channel.room % len(self._rooms)].loudspeaker.response

    def _wet(
        self, positions: Sequence[TalkerPosition], cutoff_hz: float, gain: np.float32
    ) -> Audio:
        """Sum the talkers, each filtered by the response of its position."""
        total = self._silence
        for position in positions:
            dry = self._dry(position.clips, position.lane, len(total))
            wet = self.filter_at(position, cutoff_hz)(dry)
            total = wet if total is self._silence else total + wet
        if total is not self._silence:
            total *= gain
        return total

    def _line(self, conditions: AcousticConditions, microphone: Audio) -> Audio:
        """Return the change of the microphone signal by line and network."""
        network = conditions.network
        received = through(conditions.line, microphone, sample_rate=self._rate)
        if network.lost:
            received = concealed(
                received, network.lost, method=network.concealment, sample_rate=self._rate
            )
        return received - microphone

    def _missing_input(self, conditions: AcousticConditions) -> npt.NDArray[np.bool_]:
        missing = np.zeros(self._config.n_micro_turns, np.bool_)
        missing[list(conditions.network.missing_input)] = True
        return missing

    def _dry(self, clips: Sequence[Clip], lane: str, n: int) -> Audio:
        """Sum the clips of a lane at their times."""
        audio = np.zeros(n, np.float32)
        for clip in clips:
            if clip.lane == lane:
                piece = clip.unit.audio[: clip.n_samples]
                if clip.n_samples < clip.unit.n_samples:
                    piece = faded_out(piece, round(CUT_FADE_S * self._rate))
                if clip.gain_db:
                    piece = piece * np.float32(10 ** (clip.gain_db / 20))
                audio[clip.start_sample : clip.end_sample] += piece
        return audio

    def filter_at(self, position: TalkerPosition, cutoff_hz: float) -> mix.Filter:
        """Return what a place and the band of the microphone make of a voice."""
        step = mix.LOW_PASS_STEP_HZ
        cutoff = round(cutoff_hz / step) * step
        key = (*position.key, cutoff)
        if key not in self._filters:
            if len(self._filters) >= MAX_FILTERS:
                self._filters.pop(next(iter(self._filters)))
            response = position.place(self._rooms).response
            self._filters[key] = mix.joined(response, mix.low_pass(cutoff, self._rate))
        return self._filters[key]

    def _echo(self, recipe: Recipe, conditions: AcousticConditions, agent: Audio) -> Audio:
        """Return the agent's voice as the microphone picks it up: attenuated and delayed."""
        channel, echo = recipe.channel, agent
        if channel.echo_db is None:
            return self._silence
        if conditions.echo is not None:
            loudspeaker = self._loudspeaker(channel.room, conditions.echo)
            echo = loudspeaker.echo(agent, conditions.echo, sample_rate=self._rate)
        lag = self.echo_lag(recipe, conditions)
        return mix.delayed(echo, lag, gain_db=channel.echo_db)

    def echo_lag(self, recipe: Recipe, conditions: AcousticConditions) -> int:
        """Return the delay in samples: that of the equipment, plus the time of flight in a room."""
        place = self._rooms[recipe.channel.room % len(self._rooms)].loudspeaker
        flight = place.delay_samples if conditions.echo is not None else 0.0
        return round(recipe.channel.echo_ms * self._rate / 1000 + flight)

    def _loudspeaker(self, room: int, path: EchoPath) -> Loudspeaker:
        taps = max(1, round(path.taps_ms * self._rate / 1000))
        key = (room % len(self._rooms), taps)
        if key not in self._loudspeakers:
            response = self._rooms[key[0]].loudspeaker.response
            self._loudspeakers[key] = Loudspeaker(response, taps=taps)
        return self._loudspeakers[key]

    def _noise(self, recipe: Recipe, level: float) -> Audio:
        channel, n = recipe.channel, self._config.n_samples
        if not channel.noise:
            return self._silence
        kind, offset = channel.noise, channel.noise_offset
        power = self._beds.power(kind, offset, n=n)
        gain = mix.noise_gain(level, power, snr_db=channel.snr_db)
        return self._beds.cut(kind, offset, n=n, gain=np.float32(gain))

    def _stretches(self, conditions: AcousticConditions, level: float, n: int) -> Audio:
        """Sum the stretches; the level of each is measured with its fades."""
        total = np.zeros(n, np.float32)
        for stretch in conditions.stretches:
            length = stretch.end_sample - stretch.start_sample
            bed = self._beds.cut(stretch.kind, stretch.offset, n=length)
            fade = min(round(STRETCH_FADE_S * self._rate), length // 2)
            ramp = ((np.arange(fade) + 0.5) / max(fade, 1)).astype(np.float32)
            bed[:fade] *= ramp
            bed[length - fade :] *= ramp[::-1]
            power = mix.active_power(bed, [(0, length)])
            bed *= np.float32(mix.noise_gain(level, power, snr_db=stretch.snr_db))
            total[stretch.start_sample : stretch.end_sample] += bed
        return total

    def _dither(self, recipe: Recipe, n: int) -> Audio:
        """Return the noise floor: without it the model could recognise simulated silence."""
        if self._config.channel.dither_db <= NO_DITHER_DB:
            return self._silence
        level = np.float32(10 ** (self._config.channel.dither_db / 20))
        offset = float(recipe.rng("dither place").random())
        return self._beds.cut("dither", offset, n=n, gain=level)

    def zeroed(self, recipe: Recipe, script: Script) -> list[tuple[int, int]]:
        """Draw a span of digital silence; none if a voice sounds in it."""
        n = round(recipe.channel.zero_s * self._rate)
        if not n or n >= self._config.n_samples:
            return []
        start = int(recipe.rng("zero").integers(self._config.n_samples - n))
        if script.timeline.speaks("user", start, start + n):
            return []
        if script.timeline.speaks("background", start, start + n):
            return []
        return [(start, start + n)]

    def _seconds(self, start: int, end: int) -> SpanS:
        return round(start / self._rate, 6), round(end / self._rate, 6)

    def _channel_label(
        self, recipe: Recipe, conditions: AcousticConditions, zeroed: list[tuple[int, int]]
    ) -> ChannelLabel:
        c = recipe.channel
        return ChannelLabel(
            low_pass_hz=round(c.low_pass_hz / mix.LOW_PASS_STEP_HZ) * mix.LOW_PASS_STEP_HZ,
            gain_db=c.gain_db,
            noise=c.noise,
            noise_offset=c.noise_offset if c.noise else None,
            noise_file=self._beds.file(c.noise, c.noise_offset),
            snr_db=c.snr_db if c.noise else None,
            echo_db=c.echo_db,
            echo_ms=None if c.echo_db is None else c.echo_ms,
            echo_path=self._echo_label(recipe, conditions),
            digital_zero_s=tuple(self._seconds(*span) for span in zeroed),
            stretches=tuple(self._stretch_label(stretch) for stretch in conditions.stretches),
            line=conditions.line.label(),
            network=conditions.network.label(self._rate),
        )

    def _echo_label(self, recipe: Recipe, conditions: AcousticConditions) -> EchoPathLabel | None:
        if conditions.echo is None:
            return None
        place = self._rooms[recipe.channel.room % len(self._rooms)].loudspeaker
        lag_ms = round(self.echo_lag(recipe, conditions) * 1000 / self._rate, 4)
        return conditions.echo.label(loudspeaker_m=place.distance_m, lag_ms=lag_ms)

    def _stretch_label(self, stretch: Stretch) -> StretchLabel:
        start_s, end_s = self._seconds(stretch.start_sample, stretch.end_sample)
        return StretchLabel(
            kind=stretch.kind,
            file=self._beds.file(stretch.kind, stretch.offset),
            offset=stretch.offset,
            start_s=start_s,
            end_s=end_s,
            snr_db=stretch.snr_db,
        )

    def _room_label(self, recipe: Recipe, positions: Sequence[TalkerPosition]) -> RoomLabel:
        index = recipe.channel.room % len(self._rooms)
        room = self._rooms[index]
        far = recipe.channel.far_place % len(room.far)
        return RoomLabel(
            id=index,
            size_m=tuple(room.size_m),
            rt60_s=room.rt60_s,
            measured_rt60_s=room.measured_rt60_s,
            near_m=room.near.distance_m,
            far_m=room.far[far].distance_m,
            talkers=tuple(position.label(self._rooms, self._rate) for position in positions),
        )


def _recycle_memory() -> None:
    """Free one large block, which makes glibc keep freed blocks up to this size for reuse.

    Otherwise every array as long as a dialogue is a new mapping whose pages are faulted in one by
    one: a third of the rendering time. On other allocators this has no effect.
    """
    np.empty(RECYCLED_BYTES, np.uint8)


def _spans(clips: Sequence[Clip], lane: str) -> list[tuple[int, int]]:
    """Return the spans in which a lane sounds; those close together are joined."""
    return joined(
        [(clip.start_sample, clip.end_sample) for clip in clips if clip.lane == lane], SPAN_JOIN
    )
