"""Packet loss, packet loss concealment, and the micro-turns whose input is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from microturn.datagen.labels.setting import NetworkLabel, SpanS
from microturn.model.streams.layout import StreamLayout
from microturn.model.streams.pcm import Audio

Span = tuple[int, int]
MIN_PITCH_S: Final = 0.005  # after Appendix I of G.711
MAX_PITCH_S: Final = 0.015
COMPARED_S: Final = 0.020
HOLD_S: Final = 0.010  # the filling of a gap keeps its level this long
FADE_S: Final = 0.050  # then fades to silence over this long
JOIN_S: Final = 0.004  # crossfade between the filling and the next packet


@dataclass(frozen=True, kw_only=True)
class Network:
    """The drawn network conditions of one dialogue; spans are in samples."""

    packet_ms: float = 20.0
    loss_rate: float | None = None
    burst: float | None = None  # mean length in packets
    concealment: str = ""
    lost: tuple[Span, ...] = ()  # all lost spans, stalls included
    stalls: tuple[Span, ...] = ()
    missing_input: tuple[int, ...] = ()  # micro-turns whose input did not arrive in time

    def label(self, sample_rate: int) -> NetworkLabel:
        """Return the same in seconds."""

        def seconds(spans: Sequence[Span]) -> tuple[SpanS, ...]:
            return tuple(
                (round(start / sample_rate, 6), round(end / sample_rate, 6)) for start, end in spans
            )

        return NetworkLabel(
            packet_ms=self.packet_ms,
            loss_rate=self.loss_rate,
            burst=self.burst,
            concealment=self.concealment,
            lost_s=seconds(self.lost),
            stalls_s=seconds(self.stalls),
            missing_micro_turns=self.missing_input,
        )


def losses(
    rng: np.random.Generator, n: int, *, rate: float, burst: float, max_burst: int
) -> npt.NDArray[np.bool_]:
    """Draw which of `n` packets are lost, by the two-state model of Gilbert.

    A loss is followed by another with probability 1 - 1 / burst, up to `max_burst` in a row.
    """
    lost = np.zeros(n, np.bool_)
    if rate <= 0.0:
        return lost
    stop = 1.0 / max(burst, 1.0)
    mean_run = (1.0 - (1.0 - stop) ** max_burst) / stop
    runs = np.minimum(rng.geometric(stop, n), max_burst)
    gaps = rng.geometric(min(1.0, rate / (mean_run * (1.0 - rate))), n)
    ends = np.cumsum(gaps + runs)
    for end, run in zip(ends, runs, strict=True):
        if end - run >= n:
            break
        lost[end - run : end] = True
    return lost


def spans_of(lost: npt.NDArray[np.bool_], packet: int, *, n_samples: int) -> tuple[Span, ...]:
    """Convert runs of lost packets to spans of samples."""
    edges = np.flatnonzero(np.diff(lost.astype(np.int8), prepend=0, append=0))
    pairs = zip(edges[0::2], edges[1::2], strict=True)
    return tuple((int(a) * packet, min(int(b) * packet, n_samples)) for a, b in pairs)


def missing_micro_turns(
    spans: Sequence[Span], layout: StreamLayout, *, n: int, share: float
) -> tuple[int, ...]:
    """Return the micro-turns of which at least `share` did not arrive."""
    step = layout.samples_per_micro_turn
    missing = np.zeros(n * step, np.bool_)
    for start, end in spans:
        missing[start:end] = True
    counts = missing.reshape(n, step).sum(axis=1)
    return tuple(int(k) for k in np.flatnonzero(counts >= share * step))


def concealed(audio: Audio, spans: Sequence[Span], *, method: str, sample_rate: int) -> Audio:
    """Fill lost spans with silence, the last packet, or the last pitch period."""
    out = audio.copy()
    concealment = Concealment(spans, method=method, sample_rate=sample_rate)
    concealment.fill(out, first=0, last=len(out))
    return out


class Concealment:
    """Fills lost spans of a signal that comes piece by piece."""

    def __init__(self, spans: Sequence[Span], *, method: str, sample_rate: int) -> None:
        self._spans, self._method, self._rate = spans, method, sample_rate
        self._join = round(JOIN_S * sample_rate) if method != "zero" else 0
        self._fillings: dict[Span, Audio] = {}  # with the join; zeros where nothing came before

    def fill(self, out: Audio, *, first: int, last: int) -> None:
        """Fill what is lost in [first, last) of a signal (T,) that is filled up to there."""
        for span in self._spans:
            start, end = span
            if start >= last or end + self._join <= first:
                continue
            if span not in self._fillings:
                self._fillings[span] = self._filling(out, span)
            filling = self._fillings[span]
            a, b = max(start, first), min(end, last)
            out[a:b] = filling[a - start : max(b - start, 0)]
            a, b = max(end, first), min(end + len(filling) - (end - start), last, len(out))
            if a < b:
                ramp = np.arange(1 + a - end, 1 + b - end, dtype=np.float32)
                ramp /= np.float32(self._join + 1)
                out[a:b] *= ramp
                out[a:b] += filling[a - start : b - start] * (1 - ramp)

    def _filling(self, out: Audio, span: Span) -> Audio:
        """Return what stands for a span and is mixed into what follows it."""
        start, end = span
        period = 0
        if self._method == "pitch":
            period = _pitch(out, start, self._rate)
        elif self._method != "zero":
            period = min(end - start, start, round(COMPARED_S * self._rate))
        if period < 2:
            return np.zeros(end - start, np.float32)
        filling = np.resize(out[start - period : start], end - start + self._join)
        return filling * _fading(len(filling), self._rate)


def _pitch(audio: Audio, end: int, sample_rate: int) -> int:
    """Return the pitch period before `end` by autocorrelation; 0 if there is too little sound."""
    min_lag = round(MIN_PITCH_S * sample_rate)
    max_lag = round(MAX_PITCH_S * sample_rate)
    n = round(COMPARED_S * sample_rate)
    if end < n + max_lag:
        return 0
    recent = audio[end - n : end].astype(np.float64)
    before = audio[end - n - max_lag : end - min_lag].astype(np.float64)
    match = np.correlate(before, recent, mode="valid")  # lags max_lag, max_lag - 1, ..., min_lag
    energy = np.cumsum(np.concatenate([[0.0], np.square(before)]))
    energy = energy[n:] - energy[: len(energy) - n]
    return max_lag - int(np.argmax(match / np.sqrt(np.maximum(energy, 1e-12))))


def _fading(n: int, sample_rate: int) -> Audio:
    """Return the gain of the filling: held, then faded to zero."""
    seconds = np.arange(n, dtype=np.float32) / np.float32(sample_rate)
    level: Audio = np.clip(1.0 - (seconds - np.float32(HOLD_S)) / np.float32(FADE_S), 0.0, 1.0)
    return level
