"""Packets that are lost or late, what the receiver puts in their place, and late micro-turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from microturn.model.streams.layout import StreamLayout

Audio = npt.NDArray[np.float32]
Span = tuple[int, int]
MIN_PITCH_S: Final = 0.005  # after Appendix I of G.711
MAX_PITCH_S: Final = 0.015
COMPARED_S: Final = 0.020
HOLD_S: Final = 0.010  # a filled hole keeps its level this long
FADE_S: Final = 0.050  # and is silent so much later
JOIN_S: Final = 0.004  # of what was filled in and what arrives again


@dataclass(frozen=True, kw_only=True)
class Network:
    """What a network does to one dialogue; spans are samples."""

    packet_ms: float = 20.0
    loss_rate: float | None = None
    burst: float | None = None  # packets, on average
    concealment: str = ""
    lost: tuple[Span, ...] = ()  # all of it, stalls included
    stalls: tuple[Span, ...] = ()
    late: tuple[int, ...] = ()  # micro-turns whose input was not there in time

    def to_json(self, sample_rate: int) -> dict[str, Any]:
        def seconds(spans: Sequence[Span]) -> list[list[float]]:
            return [[round(edge / sample_rate, 6) for edge in span] for span in spans]

        return {
            "packet_ms": self.packet_ms,
            "loss_rate": self.loss_rate,
            "burst": self.burst,
            "concealment": self.concealment,
            "lost": seconds(self.lost),
            "stalls": seconds(self.stalls),
            "late_micro_turns": list(self.late),
        }


def losses(
    rng: np.random.Generator, n: int, *, rate: float, burst: float, longest: int
) -> npt.NDArray[np.bool_]:
    """Which of `n` packets are lost: two states, each left with a fixed probability (Gilbert).

    A loss is followed by another with probability 1 - 1 / burst, but never more than `longest`.
    """
    lost = np.zeros(n, np.bool_)
    if rate <= 0.0:
        return lost
    stop = 1.0 / max(burst, 1.0)
    mean_run = (1.0 - (1.0 - stop) ** longest) / stop
    runs = np.minimum(rng.geometric(stop, n), longest)
    gaps = rng.geometric(min(1.0, rate / (mean_run * (1.0 - rate))), n)
    ends = np.cumsum(gaps + runs)
    for end, run in zip(ends, runs, strict=True):
        if end - run >= n:
            break
        lost[end - run : end] = True
    return lost


def spans_of(lost: npt.NDArray[np.bool_], packet: int, n_samples: int) -> tuple[Span, ...]:
    """Runs of lost packets as spans of samples."""
    edges = np.flatnonzero(np.diff(lost.astype(np.int8), prepend=0, append=0))
    pairs = zip(edges[0::2], edges[1::2], strict=True)
    return tuple((int(a) * packet, min(int(b) * packet, n_samples)) for a, b in pairs)


def late_micro_turns(
    spans: Sequence[Span], layout: StreamLayout, n: int, share: float
) -> tuple[int, ...]:
    """Micro-turns of which at least `share` did not arrive."""
    step = layout.samples_per_micro_turn
    missing = np.zeros(n * step, np.bool_)
    for start, end in spans:
        missing[start:end] = True
    counts = missing.reshape(n, step).sum(axis=1)
    return tuple(int(k) for k in np.flatnonzero(counts >= share * step))


def concealed(audio: Audio, spans: Sequence[Span], method: str, sample_rate: int) -> Audio:
    """Audio in which lost spans are filled: with silence, the last packet, or the last period."""
    out = audio.copy()
    if method == "zero":
        for start, end in spans:
            out[start:end] = 0.0
        return out
    join = round(JOIN_S * sample_rate)
    for start, end in spans:
        if method == "pitch":
            period = _pitch(out, start, sample_rate)
        else:
            period = min(end - start, start, round(COMPARED_S * sample_rate))
        if period < 2:
            out[start:end] = 0.0
            continue
        filling = np.resize(out[start - period : start], end - start + join)
        filling = filling * _fading(len(filling), sample_rate)
        out[start:end] = filling[: end - start]
        rest = min(join, len(out) - end)
        ramp = np.arange(1, rest + 1, dtype=np.float32) / np.float32(join + 1)
        out[end : end + rest] *= ramp
        out[end : end + rest] += filling[end - start :][:rest] * (1 - ramp)
    return out


def _pitch(audio: Audio, end: int, sample_rate: int) -> int:
    """By how much the sound before `end` resembles itself shifted; 0 if there is too little."""
    shortest = round(MIN_PITCH_S * sample_rate)
    longest = round(MAX_PITCH_S * sample_rate)
    n = round(COMPARED_S * sample_rate)
    if end < n + longest:
        return 0
    recent = audio[end - n : end].astype(np.float64)
    before = audio[end - n - longest : end - shortest].astype(np.float64)
    match = np.correlate(before, recent, mode="valid")  # lags longest, longest - 1, ..., shortest
    energy = np.cumsum(np.concatenate([[0.0], np.square(before)]))
    energy = energy[n:] - energy[: len(energy) - n]
    return longest - int(np.argmax(match / np.sqrt(np.maximum(energy, 1e-12))))


def _fading(n: int, sample_rate: int) -> Audio:
    """Level of what is filled in: held, then down to nothing."""
    seconds = np.arange(n, dtype=np.float32) / np.float32(sample_rate)
    level: Audio = np.clip(1.0 - (seconds - np.float32(HOLD_S)) / np.float32(FADE_S), 0.0, 1.0)
    return level
