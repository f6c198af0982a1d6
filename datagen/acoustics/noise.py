"""Noise beds: endless sound to slice from, made once per process and always the same."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from microturn.datagen.seeds import rng_for
from microturn.datagen.units import UnitBank

Audio = npt.NDArray[np.float32]
BED_S = 48
BABBLE_VOICES = 6
LINES_PER_VOICE = 12
COLOURS = {"white": 0.0, "pink": -0.5, "brown": -1.0}  # slope of the amplitude over frequency
KINDS = (*COLOURS, "hum", "babble", "music")


class NoiseBeds:
    """Beds of unit power by kind; `music` and `babble` need recordings and may be missing."""

    def __init__(self, bank: UnitBank, kinds: tuple[str, ...]) -> None:
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown:
            raise ValueError(
                f"channel.noise_kinds has {unknown[0]!r}; known are {', '.join(KINDS)}"
            )
        self._bank = bank
        self._beds: dict[str, Audio] = {}
        self._n = BED_S * bank.rate
        self.kinds = tuple(kind for kind in kinds if self._possible(kind))

    def cut(self, kind: str, offset: float, n: int) -> Audio:
        """`n` samples of a bed from a relative offset on, going round at its end."""
        bed = self.bed(kind)
        start = int(offset * len(bed))
        return np.take(bed, np.arange(start, start + n), mode="wrap")

    def bed(self, kind: str) -> Audio:
        if kind not in self._beds:
            self._beds[kind] = _unit_power(self._make(kind))
        return self._beds[kind]

    def _possible(self, kind: str) -> bool:
        if kind == "music":
            return bool(self._bank.music())
        if kind == "babble":
            return len(self._lines()) >= BABBLE_VOICES
        return True

    def _make(self, kind: str) -> Audio:
        rng = rng_for(0, 0, f"bed/{kind}/{self._bank.split}")
        if kind in COLOURS:
            return _coloured(rng, self._n, COLOURS[kind], self._bank.rate)
        if kind == "hum":
            return _hum(rng, self._n, self._bank.rate)
        return self._babble(rng) if kind == "babble" else self._music(rng)

    def _lines(self) -> tuple[object, ...]:
        return self._bank.lines(shortest_s=0.8, longest_s=6.0)

    def _babble(self, rng: np.random.Generator) -> Audio:
        """Several voices talking without a break."""
        lines = self._bank.lines(shortest_s=0.8, longest_s=6.0)
        bed = np.zeros(self._n, np.float32)
        for _ in range(BABBLE_VOICES):
            at = int(rng.integers(self._n))
            units = [
                self._bank.line(lines[int(rng.integers(len(lines)))])
                for _ in range(LINES_PER_VOICE)
            ]
            voice = np.concatenate([unit.audio for unit in units])
            voice = np.resize(voice, self._n)
            bed += np.roll(voice, at)
        return bed

    def _music(self, rng: np.random.Generator) -> Audio:
        tracks = self._bank.music()
        track = self._bank.corpus.load(tracks[int(rng.integers(len(tracks)))])
        return np.resize(track, self._n).astype(np.float32)


def _coloured(rng: np.random.Generator, n: int, slope: float, rate: int) -> Audio:
    """Noise with a power law, made in the frequency domain: it goes round without a seam."""
    frequency = np.fft.rfftfreq(n, 1 / rate)
    amplitude = np.maximum(frequency, 30.0) ** slope
    amplitude[frequency < 20.0] = 0.0
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    noise: Audio = np.fft.irfft(amplitude * np.exp(1j * phase), n).astype(np.float32)
    return noise


def _hum(rng: np.random.Generator, n: int, rate: int) -> Audio:
    """Mains: 50 Hz and its harmonics, with a little hiss."""
    time = np.arange(n) / rate
    hum = np.zeros(n)
    for harmonic in range(1, 13):
        level = float(rng.uniform(0.3, 1.0)) / harmonic
        hum += level * np.sin(2 * np.pi * 50.0 * harmonic * time + rng.uniform(0, 2 * np.pi))
    hiss = rng.standard_normal(n) * 0.03
    mixed: Audio = (hum + hiss).astype(np.float32)
    return mixed


def _unit_power(audio: Audio) -> Audio:
    power = float(np.mean(np.square(audio, dtype=np.float64)))
    scaled: Audio = audio * np.float32(1.0 / np.sqrt(max(power, 1e-20)))
    return scaled
