"""How alike two recordings are in loudness, wherever one begins in the other."""

import numpy as np

from microturn.model.streams.pcm import Audio

_PIECE = 320


def loudness(samples: Audio) -> Audio:
    """Envelope in pieces of 20 ms, without its mean."""
    n = len(samples) // _PIECE
    envelope = np.sqrt((samples[: n * _PIECE].reshape(n, _PIECE) ** 2).mean(axis=1))
    return (envelope - envelope.mean()).astype(np.float32)


def most_alike(short: Audio, long: Audio) -> float:
    """Best correlation of one with a stretch of the other, repeated."""
    long = np.tile(long, 2 + len(short) // len(long))
    windows = np.lib.stride_tricks.sliding_window_view(long, len(short))
    return max(float(np.corrcoef(short, window)[0, 1]) for window in windows)
