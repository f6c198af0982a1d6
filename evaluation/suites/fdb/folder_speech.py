"""Speech in recordings of Full-Duplex-Bench: Silero VAD as its scripts use it, or energy.

From probabilities to spans by the rules of Silero's own helper with its defaults, written out here
because the package does so only together with a model of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.activity import Activity, Span
from microturn.model.streams.pcm import Audio

BEGINS, ENDS = 0.5, 0.35  # probabilities
MIN_LENGTH_S: Final = 0.25
SILENCE_S: Final = 0.1
PAD_S: Final = 0.03


def speech(audio: Audio, rate: int, activity: ActivityConfig) -> list[Span]:
    """Find spans of speech in seconds, by Silero where it is installed and by energy elsewhere."""
    try:
        from microturn.evaluation.speech import silero

        resampled = _resampled(audio, rate, silero.SAMPLE_RATE)
        probabilities = silero.speech_probabilities(resampled)
    except (ImportError, OSError):
        return Activity.of(audio, rate, activity).runs
    frame_s = silero.FRAME / silero.SAMPLE_RATE
    return spans_of(probabilities.tolist(), frame_s, len(audio) / rate)


def _resampled(audio: Audio, rate: int, target: int) -> Audio:
    from microturn.inference.audio import resample

    return audio if rate == target else resample(audio, rate=rate, new_rate=target)


def spans_of(probabilities: Sequence[float], frame_s: float, duration_s: float) -> list[Span]:
    """Turn probabilities into padded spans, with a high threshold to start and a low one to end."""
    spans: list[Span] = []
    start: float | None = None
    end: float | None = None
    for i, probability in enumerate(probabilities):
        now = i * frame_s
        if probability >= BEGINS:
            end = None
            start = now if start is None else start
        elif probability < ENDS and start is not None:
            end = now if end is None else end
            if now - end >= SILENCE_S - 1e-9:
                spans.append((start, end))
                start = end = None
    if start is not None:
        spans.append((start, duration_s))
    return _padded([span for span in spans if span[1] - span[0] > MIN_LENGTH_S], duration_s)


def _padded(spans: Sequence[Span], duration_s: float) -> list[Span]:
    """Pad every span; close ones meet halfway."""
    padded = []
    for i, (start, end) in enumerate(spans):
        before = start - spans[i - 1][1] if i else 2 * start
        after = spans[i + 1][0] - end if i + 1 < len(spans) else 2 * (duration_s - end)
        padded.append((start - min(PAD_S, before / 2), end + min(PAD_S, max(after / 2, 0.0))))
    return padded


def tenths(spans: Sequence[Span]) -> list[Span]:
    """Round times as the backchannel script gets them: Silero rounds seconds to one digit."""
    return [(round(start, 1), round(end, 1)) for start, end in spans]
