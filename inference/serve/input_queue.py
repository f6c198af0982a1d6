"""The waiting input of one live session, and its clock.

Micro-turns are counted on the clock of the client, which starts with its first one. Overload does
not stop that clock: when more than `max_waiting` micro-turns wait, or three do and for
`max_behind_s` there was always one, all but the newest `keep_waiting` are *dropped*: they keep
their places, the model reads them in one pass with the next one, and nobody answers them. From
then on those that have waited for a micro-turn when the next one begins are dropped, too, until
there were none for `_CALM_S`. So overload costs answers, and no delay that stays; a burst or a
short halt of a machine that keeps up costs nothing.

Without `missing_after_s` the audio itself is the clock: a session without audio sits out. With it
the wall clock decides: a micro-turn whose audio is not there that long after it was due goes on
with *missing input* (`<late>`), and audio that arrives after all, beyond the room of the clock, is
*too late*: it is thrown away, its micro-turn is over.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import Final

import numpy as np

from microturn.inference.micro_turn import MicroTurnIn
from microturn.model.streams import StreamLayout
from microturn.model.streams.pcm import Audio

_MIN_BEHIND: Final = 3  # a client that sends when it is answered has two under way
_CALM_S: Final = 5.0  # overload is over when nothing had to be dropped for so long


@dataclass(frozen=True, kw_only=True)
class BegunMicroTurn:
    """A micro-turn of a session and what passed before it."""

    index: int
    input: MicroTurnIn  # without text
    arrived: float  # when its last sample arrived or should have arrived
    n_passed: int  # micro-turns directly before it that were dropped
    passed: list[MicroTurnIn]  # the newest of them


class InputQueue:
    """The waiting input of one session; times are seconds of any clock that never goes back.

    Of dropped micro-turns the sound of the newest `max_passed` is kept. Not thread-safe: the engine
    calls it under its lock.
    """

    def __init__(
        self,
        layout: StreamLayout,
        *,
        max_waiting: int,
        keep_waiting: int = 1,
        max_behind_s: float = 0.0,
        missing_after_s: float = 0.0,
        max_passed: int = 0,
    ) -> None:
        self._micro_turn_s = layout.micro_turn_s
        self._max_waiting, self._keep_waiting = max_waiting, keep_waiting
        self._max_behind_s, self._missing_after_s = max_behind_s, missing_after_s
        silence = np.zeros(layout.samples_per_micro_turn, np.float32)
        self._missing = MicroTurnIn(audio=silence, missing_input=True)
        self._waiting: deque[tuple[Audio, float]] = deque()
        self._passed: deque[MicroTurnIn] = deque(maxlen=max_passed)
        self._n_passed = 0
        self._started: float | None = None
        self._behind_since: float | None = None  # from then on there was always one that waited
        self._overloaded_until: float | None = None
        self.index = 0  # of the next micro-turn
        self.missing_input = 0  # micro-turns begun without their audio
        self.dropped = 0  # micro-turns that get no answer
        self.too_late_input = 0  # micro-turns of audio that came after theirs was over

    def __len__(self) -> int:
        return len(self._waiting)

    def push_audio(self, audio: Audio, now: float) -> None:
        """Append a micro-turn of audio, for which others may be dropped."""
        if self._started is None:
            self._started = now - self.end * self._micro_turn_s
        if not self._waiting:
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = now
        self._drop(now, n_coming=1)
        self._waiting.append((audio, now))
        if self._missing_after_s:  # no further ahead of the clock than one micro-turn
            room = max(0, self._n_due(now) + 1 - self.index)
            while len(self._waiting) > room:
                self._waiting.popleft()
                self.too_late_input += 1

    @property
    def end(self) -> int:
        """The place of the next micro-turn of audio that arrives."""
        return self.index + len(self._waiting)

    @property
    def n_read(self) -> int:
        """Micro-turns that the model has read or answered."""
        return self.index - self._n_passed

    def rewind(self, to: int) -> None:
        """Forget all from micro-turn `to` on; the audio that arrives next has its place.

        Raises ValueError where dropped micro-turns before it were forgotten already.
        """
        n_passed = min(self._n_passed, max(0, to - self.n_read))
        n_forgotten = self._n_passed - len(self._passed)
        if n_forgotten and 0 < n_passed < self._n_passed:
            raise ValueError(f"micro-turn {to} is in a long stretch that got no answer")
        while self._waiting and self.end > to:
            self._waiting.pop()
        while self._passed and n_passed < self._n_passed:
            self._passed.pop()
            self._n_passed -= 1
        self.index, self._n_passed = min(self.index, to), n_passed
        self._started = self._behind_since = None

    def twin(self) -> InputQueue:
        """Return a queue of its own with the same waiting input; it has counted no losses."""
        twin = copy(self)
        twin._waiting, twin._passed = self._waiting.copy(), self._passed.copy()
        twin._started = twin._behind_since = None
        twin.missing_input = twin.dropped = twin.too_late_input = 0
        return twin

    def skip_to(self, n_read: int) -> None:
        """Leave out what the model has read up to there."""
        while self.n_read < n_read and self._n_passed:
            self._n_passed -= 1
            if len(self._passed) > self._n_passed:
                self._passed.popleft()
        while self.n_read < n_read:
            if self._waiting:
                self._waiting.popleft()
            self.index += 1

    def missing_at(self) -> float | None:
        """Return when the next input counts as missing, if the wall clock decides that."""
        if self._started is None or not self._missing_after_s or self._waiting:
            return None
        return self._started + self.index * self._micro_turn_s + self._missing_after_s

    def is_ready(self, now: float) -> bool:
        """Tell whether the next micro-turn can begin, with its audio or without."""
        missing_at = self.missing_at()
        return bool(self._waiting) or (missing_at is not None and now >= missing_at)

    def next_input(self, now: float) -> BegunMicroTurn:
        """Begin the next micro-turn, which must be ready."""
        self._drop(now, n_coming=0)
        self._drop_aged(now)
        if self._waiting:
            audio, arrived = self._waiting.popleft()
            micro_turn = MicroTurnIn(audio=audio)
        else:
            missing_at = self.missing_at()
            assert missing_at is not None
            assert now >= missing_at
            micro_turn, arrived = self._missing, missing_at
            self.missing_input += 1
        begun = BegunMicroTurn(
            index=self.index,
            input=micro_turn,
            arrived=arrived,
            n_passed=self._n_passed,
            passed=list(self._passed),
        )
        self.index += 1
        self._passed.clear()
        self._n_passed = 0
        return begun

    def _is_behind(self, now: float, n: int) -> bool:
        """Tell whether several wait now and some did all the time, as they do not after a burst."""
        since, most = self._behind_since, self._max_behind_s
        return n >= _MIN_BEHIND and bool(most) and since is not None and now - since >= most

    def _n_due(self, now: float) -> int:
        """Count the micro-turns that are over, and the first one, by the wall clock."""
        assert self._started is not None
        return int((now - self._started) / self._micro_turn_s) + 1

    def _drop(self, now: float, *, n_coming: int) -> None:
        """Drop the oldest when too much waits together with the micro-turns that come now.

        By the wall clock those without audio wait, too, from the time on when they are missing.
        """
        n = len(self._waiting)
        if self._missing_after_s and self._started is not None:
            n = max(n, self._n_due(now - self._missing_after_s) - self.index)
        if n + n_coming <= self._max_waiting and not self._is_behind(now, n + n_coming):
            return
        self._behind_since = None
        self._drop_oldest(max(0, n + n_coming - self._keep_waiting), now)

    def _drop_aged(self, now: float) -> None:
        """Under overload, drop what has waited for a micro-turn: the newest is answered instead."""
        if self._overloaded_until is None or now >= self._overloaded_until:
            return
        aged = sum(now - arrived >= self._micro_turn_s for _, arrived in self._waiting)
        self._drop_oldest(min(aged, len(self._waiting) - self._keep_waiting), now)

    def _drop_oldest(self, n: int, now: float) -> None:
        if n <= 0:
            return
        for _ in range(n):
            sound = MicroTurnIn(audio=self._waiting.popleft()[0]) if self._waiting else None
            self._passed.append(sound or self._missing)
        self._overloaded_until = now + _CALM_S
        self._n_passed += n
        self.index += n
        self.dropped += n
