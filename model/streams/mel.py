"""Audio front ends in numpy: dMel ids of the microphone, fine log-mel of the agent's voice.

Both are causal and work micro-turn by micro-turn; the whole clip is the same computation over
all micro-turns, so streaming and whole-clip results are equal bit for bit.

dMel follows the constants of the public Inkling feature extractor (100 ms periodic Hann window,
50 ms hop, magnitude, 80 Slaney mels, log10, clamp [-7, 2], 16 bins), after arXiv 2407.15835.
Shapes: N micro-turns, F frames in one of them, M = 80 mel bands.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from microturn.model.streams.layout import N_MELS, StreamLayout
from microturn.model.streams.pcm import Pcm16, from_pcm16

LOG_MIN: Final = -7.0
LOG_MAX: Final = 2.0
DMEL_BINS: Final = 16
DB_PER_BIN: Final = 20 * (LOG_MAX - LOG_MIN) / (DMEL_BINS - 1)
FINE_LEVELS: Final = 256
FINE_N_FFT: Final = 1024
FINE_OVERLAP: Final = 4  # the fine window spans this many hops
_MAGNITUDE_FLOOR: Final = 1e-10
_BLOCK: Final = 16  # micro-turns at once: what is made of them stays in the core's cache


def _hertz_to_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slaney's scale: linear below 1 kHz, logarithmic above."""
    linear = hertz * 3.0 / 200.0
    above = 15.0 + np.log(np.maximum(hertz, 1000.0) / 1000.0) * 27.0 / np.log(6.4)
    return np.where(hertz >= 1000.0, above, linear)


def _mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = 1000.0 * np.exp((mel - 15.0) * np.log(6.4) / 27.0)
    return np.where(mel >= 15.0, above, mel * 200.0 / 3.0)


def _band_edges_hz(sample_rate: int) -> NDArray[np.float64]:
    """Start of the first band, centres of all, end of the last, (82,)."""
    top = float(_hertz_to_mel(np.array(sample_rate / 2)))
    return _mel_to_hertz(np.linspace(0.0, top, N_MELS + 2))


def bands_of_scaled(sample_rate: int, factors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find for each band the one that held its sound before all frequencies were multiplied.

    factors (...) above 0. Returns (..., 80): the nearest band, the last one beyond it.
    """
    top = float(_hertz_to_mel(np.array(sample_rate / 2)))
    sources = _band_edges_hz(sample_rate)[1:-1] / factors[..., None]
    places = _hertz_to_mel(sources) / top * (N_MELS + 1) - 1
    return np.clip(np.rint(places), 0, N_MELS - 1).astype(np.int64)


@cache
def mel_filters(sample_rate: int, n_fft: int) -> NDArray[np.float32]:
    """Slaney-normalised triangular filters from 0 Hz to Nyquist, (n_fft // 2 + 1, 80)."""
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    edges = _band_edges_hz(sample_rate)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins[:, None] - lower) / (centre - lower)
    falling = (upper - bins[:, None]) / (upper - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: NDArray[np.float32] = (triangles * (2.0 / (upper - lower))).astype(np.float32)
    filters.flags.writeable = False
    return filters


@cache
def hann_window(length: int) -> NDArray[np.float32]:
    """Periodic Hann window."""
    window: NDArray[np.float32] = (
        0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)
    ).astype(np.float32)
    window.flags.writeable = False
    return window


def _log_mel(
    padded: NDArray[np.float32], n: int, frames: int, hop: int, window: int, n_fft: int, rate: int
) -> NDArray[np.float32]:
    """Compute log10 mel magnitudes (n, frames, 80); `padded` = window - hop past samples + audio.

    Micro-turns of digital silence, most of those of a listening agent, are equal and computed
    only once.
    """
    sounding = _sounding(padded, n, frames * hop, window - hop)
    if len(sounding) == n:
        return _log_mel_of(padded, sounding, frames, hop, window, n_fft, rate)
    log = np.empty((n, frames, N_MELS), np.float32)
    log[:] = _silent_log_mel(frames, hop, window, n_fft, rate)
    if len(sounding):
        log[sounding] = _log_mel_of(padded, sounding, frames, hop, window, n_fft, rate)
    return log


def _sounding(padded: NDArray[np.float32], n: int, chunk: int, n_history: int) -> NDArray[np.intp]:
    """Find the micro-turns with a nonzero sample in one of their windows.

    Those of micro-turn k are chunk k of the padded sound, and the beginning of the next one.
    """
    whole = np.zeros((n + 1) * chunk, np.bool_)
    whole[: len(padded)] = padded[: len(whole)] != 0.0
    chunks = whole.reshape(n + 1, chunk)
    return np.flatnonzero(chunks[:-1].any(axis=1) | chunks[1:, :n_history].any(axis=1))


@cache
def _silent_log_mel(
    frames: int, hop: int, window: int, n_fft: int, rate: int
) -> NDArray[np.float32]:
    silence = np.zeros(window - hop + frames * hop, np.float32)
    log = _log_mel_of(silence, np.zeros(1, np.intp), frames, hop, window, n_fft, rate)
    log.flags.writeable = False
    return log


def _log_mel_of(
    padded: NDArray[np.float32],
    micro_turns: NDArray[np.intp],
    frames: int,
    hop: int,
    window: int,
    n_fft: int,
    rate: int,
) -> NDArray[np.float32]:
    view = np.lib.stride_tricks.sliding_window_view(padded, window)[::hop]
    log = np.empty((len(micro_turns), frames, N_MELS), np.float32)
    for first in range(0, len(micro_turns), _BLOCK):
        block = slice(first, first + _BLOCK)
        rows = micro_turns[block, None] * frames + np.arange(frames)
        log[block] = _log_mel_of_windows(view[rows], n_fft, rate)
    return log


def _log_mel_of_windows(windows: NDArray[np.float32], n_fft: int, rate: int) -> NDArray[np.float32]:
    """Compute log-mel (n, frames, 80) of windows (n, frames, window), which are overwritten."""
    from scipy.fft import rfft  # three times as fast as numpy's in single precision

    windows *= hann_window(windows.shape[-1])
    spectrum = rfft(windows, n_fft, axis=-1)
    power = np.square(spectrum.real)
    power += np.square(spectrum.imag)
    np.maximum(power, np.float32(_MAGNITUDE_FLOOR), out=power)
    magnitude = np.sqrt(power, out=power)
    # One small product per micro-turn: its rounding cannot depend on how many there are.
    mel = np.matmul(magnitude, mel_filters(rate, n_fft))
    log: NDArray[np.float32] = np.log10(np.maximum(mel, np.float32(_MAGNITUDE_FLOOR)))
    return np.clip(log, LOG_MIN, LOG_MAX)


class MelStream:
    """Causal log-mel analysis of one channel, with the past samples that streaming needs."""

    def __init__(self, layout: StreamLayout, *, fine: bool) -> None:
        self._rate = layout.sample_rate
        self._chunk = layout.samples_per_micro_turn
        if fine:
            self._frames = layout.fine_frames_per_micro_turn
            self._hop = self._chunk // self._frames
            self._window, self._n_fft = FINE_OVERLAP * self._hop, FINE_N_FFT
        else:
            self._frames = layout.frames_per_micro_turn
            self._hop = layout.samples_per_frame
            self._window = self._n_fft = 2 * self._hop
        self._history = np.zeros(self._window - self._hop, np.float32)

    def set_history(self, past: NDArray[np.float32]) -> None:
        """Set the samples just before the next ones."""
        self._history = past.astype(np.float32)

    def push(self, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute log-mel (N, F, 80) of the next N whole micro-turns."""
        n, rest = divmod(len(audio), self._chunk)
        if rest:
            raise ValueError(
                f"{len(audio)} samples are no whole number of micro-turns of {self._chunk}"
            )
        padded = np.concatenate([self._history, audio.astype(np.float32, copy=False)])
        self._history = padded[n * self._chunk :].copy()
        if n == 0:
            return np.zeros((0, self._frames, N_MELS), np.float32)
        return _log_mel(padded, n, self._frames, self._hop, self._window, self._n_fft, self._rate)


def dmel_ids(log_mel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the nearest of 16 equally spaced centres on [-7, 2]."""
    step = (LOG_MAX - LOG_MIN) / (DMEL_BINS - 1)
    ids: NDArray[np.uint8] = np.rint((log_mel - LOG_MIN) / step).astype(np.uint8)
    return ids


def dmel(audio: NDArray[np.float32], layout: StreamLayout) -> NDArray[np.uint8]:
    """Compute dMel ids of a whole clip, (N, F, 80) in 0..15."""
    return dmel_ids(MelStream(layout, fine=False).push(audio))


def dmel_rows(audio: NDArray[np.float32], layout: StreamLayout) -> NDArray[np.uint8]:
    """Compute dMel ids of one micro-turn of R channels, (R, F, 80), with the bits of each alone.

    audio (R, samples_per_frame + samples_per_micro_turn): the past samples of the first window,
    then the micro-turn.
    """
    hop = layout.samples_per_frame
    windows = sliding_window_view(audio, 2 * hop, axis=1)[:, ::hop].copy()
    return dmel_ids(_log_mel_of_windows(windows, 2 * hop, layout.sample_rate))


def fine_mel(audio: NDArray[np.float32], layout: StreamLayout) -> NDArray[np.float32]:
    """Compute fine log10-mel of a whole clip, (N, 16, 80)."""
    return MelStream(layout, fine=True).push(audio)


class FineMelCache:
    """Quantised fine log-mel with a cache of micro-turns.

    A simulated agent speaks recorded words from micro-turn boundaries on, so the same 200 ms
    recur. The numbers are those of `quantise_fine(fine_mel(...))`, bit for bit: it computes every
    micro-turn by itself, too. Keys are the samples themselves, 8 kB each: hashing them would take
    longer than everything else.
    """

    def __init__(self, layout: StreamLayout, *, max_entries: int = 4000) -> None:
        self._layout = layout
        self._chunk = layout.samples_per_micro_turn
        self._n_history = (FINE_OVERLAP - 1) * (self._chunk // layout.fine_frames_per_micro_turn)
        self._max_entries = max_entries
        self._entries: dict[bytes, NDArray[np.uint8]] = {}

    def __call__(self, pcm: Pcm16) -> NDArray[np.uint8]:
        """Compute the levels of a whole clip of 16-bit samples, (N, 16, 80)."""
        n = len(pcm) // self._chunk
        padded = np.concatenate([np.zeros(self._n_history, np.int16), pcm])
        spans = sliding_window_view(padded, self._n_history + self._chunk)[:: self._chunk][:n]
        levels = np.empty((n, self._layout.fine_frames_per_micro_turn, N_MELS), np.uint8)
        sounding = spans.any(axis=1)
        if not sounding.all():
            levels[~sounding] = self._cached(b"", np.zeros(spans.shape[1], np.int16))
        for k in np.flatnonzero(sounding):
            levels[k] = self._cached(spans[k].tobytes(), spans[k])
        return levels

    def _cached(self, key: bytes, span: Pcm16) -> NDArray[np.uint8]:
        levels = self._entries.get(key)
        if levels is None:
            if len(self._entries) >= self._max_entries:
                self._entries.clear()
            levels = self._entries[key] = self._levels(span)
        return levels

    def _levels(self, span: Pcm16) -> NDArray[np.uint8]:
        audio = from_pcm16(span)
        stream = MelStream(self._layout, fine=True)
        stream.set_history(audio[: self._n_history])
        levels: NDArray[np.uint8] = quantise_fine(stream.push(audio[self._n_history :]))[0]
        return levels


def quantise_fine(log_mel: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Round fine log-mel to 8 bits per channel (0.7 dB steps)."""
    scale = (FINE_LEVELS - 1) / (LOG_MAX - LOG_MIN)
    levels: NDArray[np.uint8] = np.rint((log_mel - LOG_MIN) * scale).astype(np.uint8)
    return levels


def dequantise_fine(levels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Invert `quantise_fine` up to half a step."""
    scale = (LOG_MAX - LOG_MIN) / (FINE_LEVELS - 1)
    return (levels.astype(np.float32) * np.float32(scale) + np.float32(LOG_MIN)).astype(np.float32)


def pack_nibbles(ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Store dMel ids two per byte, low nibble first; the last axis halves."""
    return (ids[..., 0::2] | (ids[..., 1::2] << 4)).astype(np.uint8)


def unpack_nibbles(packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Invert `pack_nibbles`."""
    pairs = packed.astype("<u2", order="C")  # the low byte comes first in memory
    pairs |= pairs << 4
    pairs &= 0x0F0F
    return pairs.view(np.uint8)
