"""The messages that wait for one client: bounded, whatever they are and however slowly it reads."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Final

from microturn.inference.serve.codec import ServerMessage

MAX_WAITING_AUDIO: Final = 25  # micro-turns of audio that may wait for a slow connection
MAX_WAITING_MESSAGES: Final = 500
MAX_WAITING_BYTES: Final = 1 << 20
MAX_KEPT_BYTES: Final = 1 << 19  # handed out already: eight seconds of GPT-Live


class Outbox:
    """Messages that wait for the connection.

    When audio piles up the oldest audio is dropped and counted. When anything else does, the client
    does not read any more: `is_overflowing` stays true and nothing more is taken in. The newest
    messages that were handed out are kept, for a client whose connection was lost.
    """

    def __init__(self) -> None:
        self._messages: deque[ServerMessage] = deque()
        self._n_audio = self._n_bytes = 0
        self._changed = asyncio.Event()
        self._is_finished = False
        self.is_overflowing = False
        self.dropped = 0  # micro-turns of audio
        self._unplayed: list[int] = []
        self._sent: deque[ServerMessage] = deque()
        self.n_sent = self._n_kept_bytes = 0  # all that were handed out; bytes of those kept

    def put(self, message: ServerMessage) -> None:
        """Take in a message, unless too much waits or the last one is in already."""
        if self._is_finished or self.is_overflowing:
            return
        if message.is_audio and self._n_audio == MAX_WAITING_AUDIO:
            self._drop_oldest_audio()
        n_bytes = self._n_bytes + message.n_bytes
        if len(self._messages) == MAX_WAITING_MESSAGES or n_bytes > MAX_WAITING_BYTES:
            self.is_overflowing = True
            return
        self._append(message)

    def finish(self, last: Iterable[ServerMessage]) -> None:
        """Take in the last messages; `get` returns None after them."""
        for message in last:
            self._append(message)
        self._is_finished = True
        self._changed.set()

    async def get(self) -> ServerMessage | None:
        """Wait for the next message; None when there is none left after `finish`."""
        while not self._messages:
            if self._is_finished:
                return None
            self._changed.clear()
            await self._changed.wait()
        message = self._messages.popleft()
        self._forget(message)
        self._keep(message)
        return message

    def send_again(self, n_received: int) -> int:
        """Put back what was handed out after the first `n_received` messages.

        Returns how many of them are not kept any more.
        """
        n_again = min(self.n_sent - n_received, len(self._sent))
        n_lost = self.n_sent - n_received - n_again
        for _ in range(n_again):
            message = self._sent.pop()
            self._n_kept_bytes -= message.n_bytes
            self._messages.appendleft(message)
            self._n_audio += message.is_audio
            self._n_bytes += message.n_bytes
        self.n_sent = n_received
        self._changed.set()
        return n_lost

    def take_unplayed(self) -> list[int]:
        """Return the micro-turns whose audio was dropped since the last call."""
        unplayed, self._unplayed = self._unplayed, []
        return unplayed

    def _keep(self, message: ServerMessage) -> None:
        self._sent.append(message)
        self.n_sent += 1
        self._n_kept_bytes += message.n_bytes
        while self._n_kept_bytes > MAX_KEPT_BYTES:
            self._n_kept_bytes -= self._sent.popleft().n_bytes

    def _append(self, message: ServerMessage) -> None:
        self._messages.append(message)
        self._n_audio += message.is_audio
        self._n_bytes += message.n_bytes
        self._changed.set()

    def _drop_oldest_audio(self) -> None:
        oldest = next(i for i, waiting in enumerate(self._messages) if waiting.is_audio)
        message = self._messages[oldest]
        if message.micro_turn is not None:
            self._unplayed.append(message.micro_turn)
        self._forget(message)
        del self._messages[oldest]
        self.dropped += 1

    def _forget(self, message: ServerMessage) -> None:
        self._n_audio -= message.is_audio
        self._n_bytes -= message.n_bytes
