"""The clock of one live conversation: what waits, what is late, what is shed.

A conversation's clock starts with its first micro-turn of sound. Micro-turn `k` is due when `k`
more micro-turns of wall clock have passed. Without `late_after_s` the sound itself is the clock:
a conversation that gets none sits out. With it the wall clock decides: a micro-turn whose sound
is not there that long after it was due goes on without (`<late>`), and sound that comes after
all, beyond what the clock has room for, is shed. Either way what waits is bounded, and what has
to go is the oldest, so that a conversation is late once and not later and later.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from microturn.model.streams.pcm import Audio


@dataclass(frozen=True, kw_only=True)
class Input:
    """What a micro-turn takes in; no audio: it did not arrive in time."""

    audio: Audio | None
    arrived: float  # when its last sample was here, or should have been


class InputQueue:
    """The waiting input of one conversation; times are seconds of any clock that never goes back.

    Not thread-safe: the engine calls it under its lock.
    """

    def __init__(self, *, micro_turn_s: float, most: int, late_after_s: float = 0.0) -> None:
        self._micro_turn_s, self._most, self._late_after_s = micro_turn_s, most, late_after_s
        self._waiting: deque[tuple[Audio, float]] = deque()
        self._started: float | None = None
        self.taken = 0  # micro-turns begun, late ones included
        self.late = 0  # of these without sound, because it did not arrive in time
        self.dropped = 0  # micro-turns of sound that were never heard

    def __len__(self) -> int:
        return len(self._waiting)

    def push(self, audio: Audio, now: float) -> int:
        """Add a micro-turn of sound; returns how many were shed for it, oldest first."""
        if self._started is None:
            self._started = now
        self._waiting.append((audio, now))
        room = self._most
        if self._late_after_s:  # no further ahead of the clock than one micro-turn
            elapsed = int((now - self._started) / self._micro_turn_s) + 1
            room = min(room, max(0, elapsed + 1 - self.taken))
        shed = max(0, len(self._waiting) - room)
        for _ in range(shed):
            self._waiting.popleft()
        self.dropped += shed
        return shed

    def late_at(self) -> float | None:
        """When the next micro-turn counts as late, if the wall clock decides that."""
        if self._started is None or not self._late_after_s or self._waiting:
            return None
        return self._started + self.taken * self._micro_turn_s + self._late_after_s

    def ready(self, now: float) -> bool:
        late_at = self.late_at()
        return bool(self._waiting) or (late_at is not None and now >= late_at)

    def take(self, now: float) -> Input:
        """The input of the next micro-turn, which must be `ready`."""
        if self._waiting:
            audio, arrived = self._waiting.popleft()
            self.taken += 1
            return Input(audio=audio, arrived=arrived)
        late_at = self.late_at()
        assert late_at is not None
        assert now >= late_at
        self.taken += 1
        self.late += 1
        return Input(audio=None, arrived=late_at)
