"""Where speech of a microphone begins and ends, as a voice assistant follows it while it listens.

Silero VAD gives a probability for every 32 ms. A stretch of speech begins at one half and is over
after a fixed length of silence, whatever was said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue

MIN_SPEECH_S: Final = 0.1  # less is a click
_SPEECH, _SILENCE = 0.5, 0.35  # probabilities at which speech begins and ends: Silero's defaults


@dataclass(kw_only=True)
class Endpointer:
    """The stretch of speech under way; begins anew after each."""

    silence_s: float  # that ends it
    began_s: float | None = None
    _quiet_s: float = 0.0

    def hear(self, probability: float, now_s: float, frame_s: float) -> Span | None:
        """Take in the frame that ends now; return the speech that is over with it, no click."""
        if probability >= _SPEECH:
            self.began_s = now_s - frame_s if self.began_s is None else self.began_s
            self._quiet_s = 0.0
            return None
        if self.began_s is None:
            return None
        self._quiet_s = self._quiet_s + frame_s if probability < _SILENCE or self._quiet_s else 0.0
        if self._quiet_s < self.silence_s:
            return None
        span = self.began_s, now_s - self._quiet_s
        self.forget()
        return span if span[1] - span[0] >= MIN_SPEECH_S else None

    def is_speech(self, now_s: float) -> bool:
        """Whether what has begun is longer than a click."""
        return self.began_s is not None and now_s - self._quiet_s - self.began_s >= MIN_SPEECH_S

    def forget(self) -> None:
        """Drop what has begun."""
        self.began_s, self._quiet_s = None, 0.0


def speech_spans(held_out: HeldOutDialogue, *, silence_s: float) -> list[Span]:
    """Divide the microphone into stretches of speech with so much silence between them."""
    ear, found, now_s = Endpointer(silence_s=silence_s), list[Span](), 0.0
    for probability, now_s, frame_s in speech_frames(held_out):
        span = ear.hear(probability, now_s, frame_s)
        if span is not None:
            found.append(span)
    if ear.began_s is not None and ear.is_speech(now_s):
        found.append((ear.began_s, now_s))
    return found


def speech_frames(held_out: HeldOutDialogue) -> Iterator[tuple[float, float, float]]:
    """Probability of speech in each frame of the microphone, its end and its length in seconds."""
    from microturn.evaluation.speech import silero

    audio, rate = held_out.load_user(), held_out.sample_rate
    if rate != silero.SAMPLE_RATE:
        from scipy.signal import resample_poly

        audio = resample_poly(audio, silero.SAMPLE_RATE, rate).astype("float32")
    frame_s = silero.FRAME / silero.SAMPLE_RATE
    for number, probability in enumerate(silero.speech_probabilities(audio)):
        yield float(probability), (number + 1) * frame_s, frame_s
