"""Noise beds: loops to slice from, recorded or generated once per process, deterministic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from microturn.datagen.acoustics import recordings
from microturn.datagen.acoustics.config import RecordingsConfig
from microturn.datagen.acoustics.mix import active_power
from microturn.datagen.acoustics.recordings import unit_power
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.dialogue.units import UnitBank
from microturn.model.streams.pcm import Audio

UNITY = np.float32(1.0)
BED_S = 48
BABBLE_VOICES = 6
LINES_PER_VOICE = 12
COLOURS = {"white": 0.0, "pink": -0.5, "brown": -1.0}  # slope of the amplitude over frequency
GENERATED = (*COLOURS, "hum", "babble", "music")
RECORDED = {"recorded": "noise", "recorded_music": "music"}  # kind: the folder that it needs
KINDS = (*GENERATED, *RECORDED)


class NoiseBeds:
    """Beds of unit power by kind; `music` and `babble` need recordings and may be missing.

    `kinds` are those of whole dialogues, `stretch_kinds` those of stretches. Each folder of user
    recordings adds a kind; the offset decides which of its files is cut, and from which position.
    """

    def __init__(
        self,
        bank: UnitBank,
        kinds: tuple[str, ...],
        *,
        stretch_kinds: tuple[str, ...] = (),
        folders: RecordingsConfig | None = None,
    ) -> None:
        self._bank = bank
        self._beds: dict[str, Audio] = {}
        self._energies: dict[str, npt.NDArray[np.float64]] = {}
        self._n = BED_S * bank.rate
        self._recorded = {
            kind: recordings.recordings(folder, f"acoustics.recordings.{name}")
            for kind, name in RECORDED.items()
            if folders is not None and (folder := getattr(folders, name))
        }
        self.kinds = self._known(kinds, "channel.noise_kinds")
        self.stretch_kinds = self._known(stretch_kinds, "acoustics.stretch.kinds")

    @classmethod
    def of(cls, config: DatagenConfig, bank: UnitBank) -> NoiseBeds:
        acoustics = config.acoustics
        return cls(
            bank,
            config.channel.noise_kinds,
            stretch_kinds=acoustics.stretch.kinds if acoustics.stretch.probability else (),
            folders=acoustics.recordings,
        )

    def _known(self, kinds: tuple[str, ...], key: str) -> tuple[str, ...]:
        """Return the kinds that the corpus can provide, and those of the user's folders."""
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"{key} has {kind!r}; known values are {', '.join(KINDS)}")
            if kind in RECORDED and kind not in self._recorded:
                raise ValueError(
                    f"{key} has {kind!r}, which needs acoustics.recordings.{RECORDED[kind]}=FOLDER"
                )
        possible = [kind for kind in kinds if kind in RECORDED or self._possible(kind)]
        return (*possible, *(kind for kind in self._recorded if kinds and kind not in kinds))

    def file(self, kind: str, offset: float) -> str | None:
        """Return the name of the user's file at an offset; None for a generated bed."""
        if kind not in self._recorded:
            return None
        return recordings.chosen(self._recorded[kind], offset)[0].path.name

    def cut(self, kind: str, offset: float, *, n: int, gain: np.float32 = UNITY) -> Audio:
        """Return a new array of `n` samples of a looped bed from a relative offset on."""
        if kind in self._recorded:
            recording, offset = recordings.chosen(self._recorded[kind], offset)
            bed = recordings.decoded(recording, self._bank.rate)
        else:
            bed = self.bed(kind)
        start = int(offset * len(bed))
        piece = np.empty(n, np.float32)
        done = 0
        while done < n:
            part = bed[start : start + n - done]
            np.multiply(part, gain, out=piece[done : done + len(part)])
            done, start = done + len(part), 0
        return piece

    def power(self, kind: str, offset: float, *, n: int) -> float:
        """Return the mean square of the samples that `cut` returns."""
        if kind in self._recorded:
            return active_power(self.cut(kind, offset, n=n), [(0, n)])
        energy = self._energy(kind)  # cumulative, over one round of the loop
        length = len(energy) - 1
        rounds, end = divmod(int(offset * length) + n, length)
        return float(rounds * energy[-1] + energy[end] - energy[int(offset * length)]) / n

    def _energy(self, kind: str) -> npt.NDArray[np.float64]:
        if kind not in self._energies:
            squares = np.square(self.bed(kind), dtype=np.float64)
            self._energies[kind] = np.concatenate([[0.0], np.cumsum(squares)])
        return self._energies[kind]

    def bed(self, kind: str) -> Audio:
        if kind not in self._beds:
            self._beds[kind] = unit_power(self._make(kind))
        return self._beds[kind]

    def _possible(self, kind: str) -> bool:
        if kind == "music":
            return bool(self._bank.music())
        if kind == "babble":
            return len(self._lines()) >= BABBLE_VOICES
        return True

    def _make(self, kind: str) -> Audio:
        rng = rng_for(0, 0, f"bed/{kind}/{self._bank.split}")
        if kind == "dither":  # not a drawn kind: every microphone has it
            return rng.standard_normal(self._n, dtype=np.float32)
        if kind in COLOURS:
            return _coloured(rng, self._n, COLOURS[kind], self._bank.rate)
        match kind:
            case "hum":
                return _hum(rng, self._n, self._bank.rate)
            case "babble":
                return self._babble(rng)
            case "music":
                return self._music()
            case _:
                raise ValueError(
                    f"noise {kind!r} cannot be generated; known kinds are {', '.join(GENERATED)}"
                )

    def _lines(self) -> Sequence[object]:
        return self._bank.lines(shortest_s=0.8, longest_s=6.0)

    def _babble(self, rng: np.random.Generator) -> Audio:
        """Sum several voices that talk without a break."""
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

    def _music(self) -> Audio:
        """Play all pieces of the split one after another."""
        whole = np.concatenate([self._bank.corpus.load(piece) for piece in self._bank.music()])
        return np.resize(whole, max(len(whole), self._n)).astype(np.float32)


def _coloured(rng: np.random.Generator, n: int, slope: float, rate: int) -> Audio:
    """Generate noise with a power-law spectrum in the frequency domain: it loops seamlessly."""
    frequency = np.fft.rfftfreq(n, 1 / rate)
    amplitude = np.maximum(frequency, 30.0) ** slope
    amplitude[frequency < 20.0] = 0.0
    phase = rng.uniform(0, 2 * np.pi, len(frequency))
    noise: Audio = np.fft.irfft(amplitude * np.exp(1j * phase), n).astype(np.float32)
    return noise


def _hum(rng: np.random.Generator, n: int, rate: int) -> Audio:
    """Generate mains hum: 50 Hz and its harmonics, with a little hiss."""
    time = np.arange(n) / rate
    hum = np.zeros(n)
    for harmonic in range(1, 13):
        level = float(rng.uniform(0.3, 1.0)) / harmonic
        hum += level * np.sin(2 * np.pi * 50.0 * harmonic * time + rng.uniform(0, 2 * np.pi))
    hiss = rng.standard_normal(n) * 0.03
    mixed: Audio = (hum + hiss).astype(np.float32)
    return mixed
