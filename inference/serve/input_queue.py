"""The waiting input of one live session, and its clock.

A session's clock starts with its first micro-turn of audio. Micro-turn `k` is due when `k` more
micro-turns of wall clock have passed. Without `missing_after_s` the audio itself is the clock: a
session without audio sits out. With it the wall clock decides: a micro-turn whose audio is not
there that long after it was due goes on with *missing input* (`<late>`), and audio that arrives
after all, beyond the room of the clock, is *dropped*. Either way the queue is bounded and drops
the oldest first, so that a session falls behind once and does not accumulate delay.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from microturn.inference.micro_turn import MicroTurnIn
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio


class InputQueue:
    """The waiting input of one session; times are seconds of any clock that never goes back.

    Not thread-safe: the engine calls it under its lock.
    """

    def __init__(
        self, layout: StreamLayout, *, max_waiting: int, missing_after_s: float = 0.0
    ) -> None:
        self._micro_turn_s = layout.micro_turn_s
        self._max_waiting, self._missing_after_s = max_waiting, missing_after_s
        self._silence = np.zeros(layout.samples_per_micro_turn, np.float32)
        self._waiting: deque[tuple[Audio, float]] = deque()
        self._started: float | None = None
        self.n_begun = 0  # micro-turns, those with missing input included
        self.missing_input = 0  # micro-turns begun without their audio
        self.dropped = 0  # micro-turns of audio that the model never read

    def __len__(self) -> int:
        return len(self._waiting)

    def push_audio(self, audio: Audio, now: float) -> int:
        """Append a micro-turn of audio; returns the number dropped for it, oldest first."""
        if self._started is None:
            self._started = now
        self._waiting.append((audio, now))
        room = self._max_waiting
        if self._missing_after_s:  # no further ahead of the clock than one micro-turn
            elapsed = int((now - self._started) / self._micro_turn_s) + 1
            room = min(room, max(0, elapsed + 1 - self.n_begun))
        n_dropped = max(0, len(self._waiting) - room)
        for _ in range(n_dropped):
            self._waiting.popleft()
        self.dropped += n_dropped
        return n_dropped

    def missing_at(self) -> float | None:
        """Return when the next input counts as missing, if the wall clock decides that."""
        if self._started is None or not self._missing_after_s or self._waiting:
            return None
        return self._started + self.n_begun * self._micro_turn_s + self._missing_after_s

    def is_ready(self, now: float) -> bool:
        """Tell whether the next micro-turn can begin, with its audio or without."""
        missing_at = self.missing_at()
        return bool(self._waiting) or (missing_at is not None and now >= missing_at)

    def next_input(self, now: float) -> tuple[MicroTurnIn, float]:
        """Begin the next micro-turn, which must be ready.

        Returns its input, without text, and when the last sample arrived or should have arrived.
        """
        if self._waiting:
            audio, arrived = self._waiting.popleft()
            self.n_begun += 1
            return MicroTurnIn(audio=audio), arrived
        missing_at = self.missing_at()
        assert missing_at is not None
        assert now >= missing_at
        self.n_begun += 1
        self.missing_input += 1
        return MicroTurnIn(audio=self._silence, missing_input=True), missing_at
