"""Script to sound: the microphone and the agent's voice, sample by sample on the wall clock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from microturn.datagen.acoustics import mix
from microturn.datagen.acoustics.noise import NoiseBeds
from microturn.datagen.acoustics.rooms import Room, load_bank
from microturn.datagen.config import DatagenConfig
from microturn.datagen.recipe import Recipe
from microturn.datagen.scenarios.base import Clip, Script

Audio = npt.NDArray[np.float32]
CUT_FADE_S = 0.012  # a word that is broken off fades this long before it is silent
NOMINAL_DB = -26.0  # level of a user who says nothing, for the noise to be measured against
MOST_FILTERS = 128


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Both channels as 16-bit samples and what the microphone is made of."""

    user: npt.NDArray[np.int16]
    agent: npt.NDArray[np.int16]
    stems: dict[str, Audio]
    room: dict[str, Any]
    channel: dict[str, Any]


class Renderer:
    """Turns scripts into sound; holds what dialogues share."""

    def __init__(self, config: DatagenConfig, rooms: Path, beds: NoiseBeds) -> None:
        self._config = config
        self._rate = config.layout.sample_rate
        self._rooms = load_bank(rooms)
        self._beds = beds
        self._filters: dict[tuple[int, int, int], mix.Filter] = {}

    def render(self, recipe: Recipe, script: Script) -> Sound:
        n, channel = self._config.n_samples, recipe.channel
        room = self._rooms[channel.room % len(self._rooms)]
        far = channel.far_place % len(room.far)
        agent = self._dry(script.clips, "agent", n)
        gain = np.float32(10 ** (channel.gain_db / 20))
        user = self._filter(channel.room, -1, room.near, channel.low_pass_hz)(
            self._dry(script.clips, "user", n)
        )
        background = self._filter(channel.room, far, room.far[far], channel.low_pass_hz)(
            self._dry(script.clips, "background", n)
        )
        spans = [(word.start, word.end) for word in script.timeline.user]
        stems = {
            "user": user * gain,
            "background": background * gain,
            "echo": self._echo(recipe, agent),
            "noise": self._noise(recipe, mix.active_power(user * gain, spans), gain),
            "dither": self._dither(recipe, n),
        }
        zeroed = self._zeroed(recipe, script)
        for start, end in zeroed:
            for stem in stems.values():
                stem[start:end] = 0.0
        stems = mix.limit(stems)
        return Sound(
            user=mix.to_pcm(mix.mixed(stems)),
            agent=mix.to_pcm(agent),
            stems=stems,
            room=_describe(channel.room, room, far),
            channel=self._channel_json(recipe, zeroed),
        )

    def _dry(self, clips: list[Clip], lane: str, n: int) -> Audio:
        """All clips of a lane at their places."""
        audio = np.zeros(n, np.float32)
        for clip in clips:
            if clip.lane == lane:
                piece = clip.unit.audio[: clip.n_samples]
                if clip.n_samples < clip.unit.n_samples:
                    piece = _faded_out(piece, round(CUT_FADE_S * self._rate))
                if clip.gain_db:
                    piece = piece * np.float32(10 ** (clip.gain_db / 20))
                audio[clip.start : clip.end] += piece
        return audio

    def _filter(self, room: int, place: int, response: Audio, cutoff_hz: float) -> mix.Filter:
        step = mix.LOW_PASS_STEP_HZ
        cutoff = round(cutoff_hz / step) * step
        key = (room, place, cutoff)
        if key not in self._filters:
            if len(self._filters) >= MOST_FILTERS:
                self._filters.pop(next(iter(self._filters)))
            self._filters[key] = mix.joined(response, mix.low_pass(cutoff, self._rate))
        return self._filters[key]

    def _echo(self, recipe: Recipe, agent: Audio) -> Audio:
        """The agent's voice as the microphone hears it, weaker and later."""
        channel = recipe.channel
        if channel.echo_db is None:
            return np.zeros_like(agent)
        lag = round(channel.echo_ms * self._rate / 1000)
        return mix.delayed(agent, lag, channel.echo_db)

    def _noise(self, recipe: Recipe, user_power: float, gain: np.float32) -> Audio:
        channel, n = recipe.channel, self._config.n_samples
        if not channel.noise:
            return np.zeros(n, np.float32)
        bed = self._beds.cut(channel.noise, channel.noise_offset, n)
        power = user_power or 10 ** (NOMINAL_DB / 10) * float(gain) ** 2
        noise_power = mix.active_power(bed, [(0, n)])
        scaled: Audio = bed * np.float32(mix.noise_gain(power, noise_power, channel.snr_db))
        return scaled

    def _dither(self, recipe: Recipe, n: int) -> Audio:
        """The floor of every real microphone: without it silence would be recognisable as such."""
        level = np.float32(10 ** (self._config.channel.dither_db / 20))
        return self._beds.cut("dither", float(recipe.rng("dither place").random()), n) * level

    def _zeroed(self, recipe: Recipe, script: Script) -> list[tuple[int, int]]:
        """A stretch of digital silence, where no user is speaking."""
        n = round(recipe.channel.zero_s * self._rate)
        if not n or n >= self._config.n_samples:
            return []
        start = int(recipe.rng("zero").integers(self._config.n_samples - n))
        if script.timeline.speaks("user", start, start + n):
            return []
        if script.timeline.speaks("background", start, start + n):
            return []
        return [(start, start + n)]

    def _channel_json(self, recipe: Recipe, zeroed: list[tuple[int, int]]) -> dict[str, Any]:
        c = recipe.channel
        return {
            "low_pass_hz": round(c.low_pass_hz / mix.LOW_PASS_STEP_HZ) * mix.LOW_PASS_STEP_HZ,
            "gain_db": c.gain_db,
            "noise": c.noise,
            "snr_db": c.snr_db if c.noise else None,
            "echo_db": c.echo_db,
            "echo_ms": None if c.echo_db is None else c.echo_ms,
            "digital_zero": [
                [round(a / self._rate, 6), round(b / self._rate, 6)] for a, b in zeroed
            ],
        }


def _faded_out(audio: Audio, n: int) -> Audio:
    faded = audio.copy()
    n = min(n, len(faded))
    faded[len(faded) - n :] *= np.linspace(1.0, 0.0, n, dtype=np.float32)
    return faded


def _describe(index: int, room: Room, far: int) -> dict[str, Any]:
    return {
        "id": index,
        "size_m": list(room.size_m),
        "rt60_s": room.rt60_s,
        "near_m": room.near_m,
        "far_m": room.far_m[far],
    }
