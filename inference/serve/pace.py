"""How much one client may ask for in a stretch of time: allowances that grow back with the clock.

What one client sends is worked on by threads that serve all of them, so none may send without end.
The limits are far above what a conversation needs: whoever reaches them is told in a sentence, and
whoever goes on is shown out (`connection.py`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from microturn.inference.config import ServeConfig

MESSAGES_PER_S: Final = 200.0  # of any kind: audio in pieces of 10 ms is half of it
REQUESTS_PER_S: Final = 10.0  # texts, cancels, frames: two in each micro-turn of 200 ms
MAX_ERRORS: Final = 20  # wrong messages before the connection is closed
ERRORS_PER_S: Final = 0.1  # so often one is forgiven: a long conversation may have bad moments
BYTES_OF_ERROR: Final = 1 << 16  # a large wrong message counts as one for each of these begun
_BURST_S: Final = 2.0  # of messages and requests that may come at once
# A sound card's own clock may run fast, by a thousandth at worst.
_AUDIO_PER_S: Final = 1.01

Clock = Callable[[], float]


class Allowance:
    """An amount that may be spent at once and grows back `per_s`; `most` may be infinite."""

    def __init__(self, *, most: float, per_s: float, clock: Clock = time.monotonic) -> None:
        self._most, self._per_s, self._clock = most, per_s, clock
        self._left, self._at = most, clock()

    def spend(self, amount: float = 1.0) -> bool:
        """Spend an amount; False, and nothing is spent, when less is left."""
        if not self.holds(amount):
            return False
        self._left -= amount
        return True

    def holds(self, amount: float = 1.0) -> bool:
        """Tell whether so much is left."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        return amount <= self._left


class ClientPace:
    """What one client may send; each question takes from an allowance, a refusal is a ValueError.

    The clock gives seconds that never go back.
    """

    def __init__(self, config: ServeConfig, *, clock: Clock = time.monotonic) -> None:
        self._ahead_s = config.audio_ahead_s
        ahead_s = config.audio_ahead_s or math.inf
        self._audio_s = Allowance(most=ahead_s, per_s=_AUDIO_PER_S, clock=clock)
        # Whoever may send audio at any speed sends that many messages.
        most = _BURST_S * MESSAGES_PER_S if self._ahead_s else math.inf
        self._messages = Allowance(most=most, per_s=MESSAGES_PER_S, clock=clock)
        most = _BURST_S * REQUESTS_PER_S
        self._requests = Allowance(most=most, per_s=REQUESTS_PER_S, clock=clock)
        # The last one that is allowed is the first one too many.
        self._errors = Allowance(most=MAX_ERRORS - 1, per_s=ERRORS_PER_S, clock=clock)

    def take_message(self) -> None:
        """Count a message of any kind, before it is read."""
        if not self._messages.spend():
            raise ValueError(
                f"more than {MESSAGES_PER_S:g} messages a second; this one was not read: send "
                "audio in larger pieces"
            )

    def take_request(self) -> None:
        """Count a text, a cancel, a frame or instructions."""
        if not self._requests.spend():
            raise ValueError(
                f"more than {REQUESTS_PER_S:g} texts, cancels and frames a second; this one was "
                "not taken: send fewer"
            )

    def take_audio(self, seconds: float) -> None:
        """Count audio, which may be ahead of real time by the allowance and no further."""
        if not self._audio_s.spend(seconds):
            raise ValueError(
                f"audio came {self._ahead_s:g} s ahead of real time; this message was not heard "
                "to its end: send audio as fast as it is recorded"
            )

    def take_error(self, n_bytes: int = 0) -> bool:
        """Count a wrong message, wherever it was found; False when it was one too many."""
        return self._errors.spend(1 + n_bytes // BYTES_OF_ERROR)
