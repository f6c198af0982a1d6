"""The microphone of a dialogue whose agent and user are only known as they speak.

It is the sum that `acoustics/render.py` makes. What depends on a whole dialogue there, the level
that noise is measured against and the gain against clipping, is that of the planned dialogue.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from microturn.datagen.acoustics.conditions import AcousticConditions
from microturn.datagen.acoustics.mix import LOW_PASS_TAPS, Filter
from microturn.datagen.acoustics.render import RenderedAudio, Renderer
from microturn.datagen.acoustics.streamed import StreamedEcho, StreamedLine
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import Clip, Script
from microturn.model.streams.pcm import Audio, from_pcm16, to_pcm16

BAND_AHEAD: Final = LOW_PASS_TAPS // 2  # samples by which the band limit rings before a sound
FADE_S: Final = 0.02  # of a voice that breaks off


class Microphone:
    """Sums voices, noise and the agent's echo, one micro-turn after the other."""

    def __init__(
        self,
        config: DatagenConfig,
        renderer: Renderer,
        recipe: Recipe,
        script: Script,
        conditions: AcousticConditions,
        *,
        rendered: RenderedAudio,
    ) -> None:
        channel, layout = recipe.channel, config.layout
        self._n, self._block = config.n_samples, layout.samples_per_micro_turn
        self._rate = layout.sample_rate
        self._filters: dict[int, Filter] = {}  # by clip
        for position in renderer.positions(recipe, script, conditions):
            for clip in position.clips:
                self._filters[id(clip)] = renderer.filter_at(position, channel.low_pass_hz)
        self._gain = np.float32(10 ** (channel.gain_db / 20))
        self._limit = rendered.limit
        self._still = renderer.still(recipe, conditions, level=rendered.level)
        self._zeroed = renderer.zeroed(recipe, script)
        self._voices = np.zeros(self._n, np.float32)
        self._sounding: list[tuple[int, int]] = []
        self._echo = None
        if channel.echo_db is not None:
            self._echo = StreamedEcho(
                renderer.speaker_response(recipe),
                conditions.echo,
                gain_db=channel.echo_db,
                lag=renderer.echo_lag(recipe, conditions),
                sample_rate=layout.sample_rate,
                block=self._block,
            )
        self._line = StreamedLine(
            conditions.line,
            conditions.network,
            n=self._n,
            peak=rendered.peak,
            rate=layout.sample_rate,
        )
        self.ahead = BAND_AHEAD + self._line.ahead
        self._total = np.zeros(self._n, np.float32)
        self._echoed = np.zeros(self._n, np.float32)
        self._n_mixed = 0  # samples of the sum that are final
        self._done = 0  # samples

    def place(self, clip: Clip, start: int) -> None:
        """Let a clip of the plan sound from a sample on, at least `ahead` after what was heard."""
        if self._n_mixed and start < self._n_mixed + BAND_AHEAD:
            raise ValueError(f"a clip cannot sound from {start} on: {self._n_mixed} are mixed")
        dry = self._add(clip, clip.unit.audio[: clip.n_samples], start)
        self._sounding.append((start, start + len(dry)))

    def break_off(self, clip: Clip, start: int, stop: int) -> None:
        """Let a clip that sounds since `start` fade out from sample `stop` on."""
        if stop < self._n_mixed + BAND_AHEAD:
            raise ValueError(f"a clip cannot end at {stop}: {self._n_mixed} are mixed")
        rest = clip.unit.audio[stop - start : clip.n_samples].copy()
        n = min(len(rest), round(FADE_S * self._rate))
        rest[:n] *= np.linspace(0.0, 1.0, n, dtype=np.float32)
        self._add(clip, -rest, stop)
        self._sounding.remove((start, start + clip.n_samples))
        self._sounding.append((start, stop + n))

    def _add(self, clip: Clip, dry: Audio, start: int) -> Audio:
        """Add sound of a clip from a sample on, through its filter."""
        fits = self._filters[id(clip)]
        if clip.gain_db:
            dry = dry * np.float32(10 ** (clip.gain_db / 20))
        padded = np.zeros(fits.delay + len(dry) + fits.n_taps, np.float32)
        padded[fits.delay : fits.delay + len(dry)] = dry
        wet = fits(padded)
        first = start - fits.delay
        skipped = max(-first, 0)
        wet = wet[skipped : self._n - first]
        self._voices[first + skipped : first + skipped + len(wet)] += wet
        return dry

    def block(self, agent: Audio) -> Audio:
        """Return the next micro-turn (T,) of whole 16-bit steps, while the agent's sound plays."""
        first, last = self._done, self._done + self._block
        if self._echo is not None:
            self._echoed[first:last] = self._echo(agent)
            coming = self._echo.ahead(self._line.ahead)[: self._n - last]
            self._echoed[last : last + len(coming)] = coming
        self._mix(min(last + self._line.ahead, self._n))
        self._done = last
        return from_pcm16(to_pcm16(self._line(self._total, first=first, last=last)))

    def _mix(self, last: int) -> None:
        """Sum what sounds up to a sample."""
        first, self._n_mixed = self._n_mixed, last
        total = self._voices[first:last] * self._gain
        total += self._echoed[first:last]
        total += self._still[first:last]
        for start, end in self._zeroed:
            a, b = max(start, first), min(end, last)
            if a < b and not any(s < b and a < e for s, e in self._sounding):
                total[a - first : b - first] = 0.0
        self._total[first:last] = total * self._limit
