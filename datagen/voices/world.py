"""Analyses a recording once and speaks it again as somebody else, with the WORLD vocoder.

Pitch by DIO with StoneMask, or by Harvest (Morise 2009, 2017); the spectral envelope by CheapTrick
(Morise 2015), kept as a mel-cepstrum; aperiodicity by D4C (Morise 2016). Morise, Yokomori, Ozawa
2016, "WORLD: a vocoder-based high-quality speech synthesis system", IEICE Trans. E99-D:1877.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import numpy.typing as npt

from microturn.datagen.labels.voice_names import VoiceTransform
from microturn.model.streams.pcm import Audio

FRAME_S = 0.005
N_COEFFICIENTS = 60  # of the mel-cepstrum
MIN_HZ, MAX_HZ = 40.0, 800.0  # of a transformed pitch, wherever intonation takes it

Frames = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class VoiceAnalysis:
    """A recording as frames of 5 ms; frame `i` is the sound around `i * FRAME_S`."""

    rate: int  # of the recording, in Hz
    pitch_hz: Frames  # (frames,); 0 where there is no voice
    envelope: Frames  # (frames, N_COEFFICIENTS)
    aperiodicity: Frames  # (frames, bands) in dB

    @property
    def n_bytes(self) -> int:
        return self.pitch_hz.nbytes + self.envelope.nbytes + self.aperiodicity.nbytes


def analyse(audio: Audio, rate: int, *, pitch_method: str) -> VoiceAnalysis:
    """Analyse mono audio (n,); `rate` is at least `MIN_TRANSFORM_HZ`."""
    world = _world()
    x = audio.astype(np.float64)
    if pitch_method == "harvest":
        pitch, times = world.harvest(x, rate, frame_period=1000 * FRAME_S)
    else:
        rough, times = world.dio(x, rate, frame_period=1000 * FRAME_S)
        pitch = world.stonemask(x, rough, times, rate)
    envelope = world.cheaptrick(x, pitch, times, rate)
    aperiodicity = world.d4c(x, pitch, times, rate)
    return VoiceAnalysis(
        rate=rate,
        pitch_hz=pitch.astype(np.float32),
        envelope=world.code_spectral_envelope(envelope, rate, N_COEFFICIENTS).astype(np.float32),
        aperiodicity=world.code_aperiodicity(aperiodicity, rate).astype(np.float32),
    )


def resynthesise(
    analysis: VoiceAnalysis,
    transform: VoiceTransform,
    *,
    start_sample: int = 0,
    end_sample: int | None = None,
) -> Audio:
    """Speak a recording, or what lies between two of its samples, in another voice.

    Returns mono audio (n,): sample `s` after the start is found at `s / transform.tempo`.
    """
    world, rate = _world(), analysis.rate
    hop = FRAME_S * rate
    first = round(start_sample / hop)
    last = None if end_sample is None else max(round(end_sample / hop), first + 1)
    frames = slice(first, last)
    size = world.get_cheaptrick_fft_size(rate)
    envelope = world.decode_spectral_envelope(_double(analysis.envelope[frames]), rate, size)
    aperiodicity = world.decode_aperiodicity(_double(analysis.aperiodicity[frames]), rate, size)
    spoken = world.synthesize(
        _moved(analysis.pitch_hz, transform)[frames],
        np.exp(_stretched(np.log(envelope), transform.formants)),
        _stretched(aperiodicity, transform.formants),
        rate,
        1000 * FRAME_S / transform.tempo,
    )
    n = None if end_sample is None else round((end_sample - start_sample) / transform.tempo)
    audio: Audio = spoken[:n].astype(np.float32)
    return audio


def _moved(pitch_hz: Frames, transform: VoiceTransform) -> npt.NDArray[np.float64]:
    """Bring the median of a pitch to that of the transform, and scale the way around it."""
    voiced = pitch_hz > 0
    moved = np.zeros(len(pitch_hz))
    if voiced.any():
        octaves = np.log2(_double(pitch_hz[voiced]))
        around = transform.intonation * (octaves - np.median(octaves))
        moved[voiced] = np.clip(transform.pitch_hz * 2**around, MIN_HZ, MAX_HZ)
    return moved


def _stretched(spectra: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float64]:
    """Stretch spectra (frames, bins) along frequency; beyond the last bin its value stands."""
    last = spectra.shape[1] - 1
    places = np.minimum(np.arange(last + 1) / factor, last)
    below = np.minimum(places.astype(np.intp), last - 1)
    part = places - below
    stretched: npt.NDArray[np.float64] = np.ascontiguousarray(
        spectra[:, below] * (1 - part) + spectra[:, below + 1] * part
    )
    return stretched


def _double(frames: Frames) -> npt.NDArray[np.float64]:
    return np.ascontiguousarray(frames, dtype=np.float64)


def vocoder_name() -> str:
    """Return name and version of the vocoder, for digests."""
    return f"pyworld {_world().__version__}"


def _world() -> ModuleType:
    try:
        import pyworld
    except ImportError as error:
        raise OSError(
            f"voices.transform needs pyworld, which cannot be imported ({error}); install "
            "'microturn[datagen]', or leave voices.transform.share at 0"
        ) from error
    return pyworld
