"""One client of the server: its socket, its codec and its bounded outbox.

Each connection has a receiver, which hands micro-turns to the engine, and a sender, which empties
the outbox. The model never runs on the event loop, and the event loop never waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Final, assert_never

from starlette.websockets import WebSocket, WebSocketDisconnect

from microturn.inference.config import ServeConfig
from microturn.inference.serve.codec import (
    CancelDelegation,
    ClientMessage,
    ClientRefused,
    Close,
    Codec,
    Instructions,
    MicrophoneAudio,
    ServerMessage,
    ShownFrame,
    TypedText,
    WrongMessage,
)
from microturn.inference.serve.engine import EngineFull, LiveEngine, LiveSession
from microturn.inference.serve.report import MicroTurnReport, Problem

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_ERRORS: Final = 20  # wrong messages before the connection is closed
MAX_WAITING_AUDIO: Final = 25  # micro-turns of audio that may wait for a slow connection
MAX_WAITING_MESSAGES: Final = 500

# Close codes of RFC 6455: 1000 done, 1008 not allowed, 1011 the server's fault, 1013 try later.
CLOSE_DONE: Final = 1000
CLOSE_NOT_ALLOWED: Final = 1008
CLOSE_FAILED: Final = 1011
CLOSE_FULL: Final = 1013


class Outbox:
    """Messages that wait for the connection; when audio piles up the oldest audio is dropped."""

    def __init__(self) -> None:
        self._messages: deque[ServerMessage] = deque()
        self._n_audio = 0
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, message: ServerMessage) -> None:
        self._messages.append(message)
        self._n_audio += message.is_audio
        if self._n_audio > MAX_WAITING_AUDIO:
            oldest = next(i for i, waiting in enumerate(self._messages) if waiting.is_audio)
            del self._messages[oldest]
            self._n_audio -= 1
            self.dropped += 1
        self._filled.set()

    @property
    def n_waiting(self) -> int:
        return len(self._messages)

    @property
    def is_overflowing(self) -> bool:
        """The client does not read any more."""
        return len(self._messages) > MAX_WAITING_MESSAGES

    async def get(self) -> ServerMessage:
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        message = self._messages.popleft()
        self._n_audio -= message.is_audio
        return message


@dataclass(frozen=True)
class _End:
    """Why a conversation ends, and the close code."""

    reason: str
    code: int
    is_error: bool = False
    event_id: str | None = None  # the client's id of the message that ends it


class Connection:
    """One client from its greeting to its end."""

    def __init__(
        self, websocket: WebSocket, engine: LiveEngine, *, codec: Codec, config: ServeConfig
    ) -> None:
        self._websocket, self._engine, self._codec = websocket, engine, codec
        self._idle_s = config.idle_s or None
        self._outbox = Outbox()
        self._loop = asyncio.get_running_loop()
        self._fatal: asyncio.Future[str] = self._loop.create_future()
        self._n_errors = self._reported_dropped = 0

    async def serve(self) -> None:
        try:
            session = self._engine.join(self._deliver)
        except EngineFull as error:
            await self._say_goodbye(_End(str(error), CLOSE_FULL, is_error=True))
            return
        self._put(self._codec.greeting(session.name, warning=session.warning))
        try:
            await self._run(session)
        except (WebSocketDisconnect, OSError):
            pass  # the client has gone
        finally:
            session.leave()

    async def _run(self, session: LiveSession) -> None:
        """Send and receive until one of them ends, then say why."""
        sender = asyncio.create_task(self._send())
        receiver = asyncio.create_task(self._receive(session))
        try:
            ends: list[asyncio.Future[Any]] = [sender, receiver, self._fatal]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sender.cancel()
            receiver.cancel()
            # Not gather: it would hide a cancellation from outside.
            await asyncio.wait([sender, receiver])
            failures = [task.exception() for task in (sender, receiver) if not task.cancelled()]
        for failure in filter(None, failures):
            raise failure
        if self._fatal.done():
            await self._say_goodbye(_End(self._fatal.result(), CLOSE_FAILED, is_error=True))
        elif not receiver.cancelled():
            await self._flush()
            await self._say_goodbye(receiver.result())

    async def _flush(self) -> None:
        """Send the messages that wait already."""
        while self._outbox.n_waiting:
            await self._send_one(await self._outbox.get())

    async def _say_goodbye(self, end: _End) -> None:
        errors = []
        if end.is_error:
            errors = self._codec.encode_error(end.reason, event_id=end.event_id)
        for message in (*errors, *self._codec.farewell(end.reason)):
            await self._send_one(message)
        await self._websocket.close(end.code, end.reason[:100])

    # --- out -----------------------------------------------------------------------------------
    def _deliver(self, message: MicroTurnReport | Problem) -> None:
        """Hand a message of the engine's thread to the event loop."""
        try:
            self._loop.call_soon_threadsafe(self._handle, message)
        except RuntimeError:  # the loop was closed: the server is going down
            return

    def _handle(self, message: MicroTurnReport | Problem) -> None:
        if isinstance(message, Problem):
            if message.fatal and not self._fatal.done():
                self._fatal.set_result(message.message)
            else:
                self._put(self._codec.encode_error(message.message, event_id=None))
            return
        self._put(self._codec.encode_report(message, dropped_output=self._outbox.dropped))
        if self._outbox.dropped > self._reported_dropped:
            self._reported_dropped = self._outbox.dropped
            self._put(self._codec.encode_dropped_output(self._outbox.dropped))

    def _put(self, messages: list[ServerMessage]) -> None:
        for message in messages:
            self._outbox.put(message)
        if self._outbox.is_overflowing and not self._fatal.done():
            self._fatal.set_result("the connection is too slow for its own audio")

    async def _send(self) -> None:
        while True:
            await self._send_one(await self._outbox.get())

    async def _send_one(self, message: ServerMessage) -> None:
        if isinstance(message.payload, bytes):
            await self._websocket.send_bytes(message.payload)
        else:
            await self._websocket.send_text(message.payload)

    # --- in ------------------------------------------------------------------------------------
    async def _receive(self, session: LiveSession) -> _End:
        """Read messages until the client or a limit ends the conversation."""
        while self._n_errors < MAX_ERRORS:
            try:
                message = await asyncio.wait_for(self._websocket.receive(), self._idle_s)
            except TimeoutError:
                return _End(f"nothing was sent for {self._idle_s:g} s", CLOSE_DONE)
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or CLOSE_DONE)
            binary = message.get("bytes")
            try:
                data = (message.get("text") or "") if binary is None else binary
                for decoded in self._codec.decode(data):
                    if isinstance(decoded, ServerMessage):
                        self._put([decoded])
                    elif not await _obey(session, decoded):
                        return _End("goodbye", CLOSE_DONE)
            except ClientRefused as error:
                reason, event_id = str(error), error.event_id
                return _End(reason, CLOSE_NOT_ALLOWED, is_error=True, event_id=event_id)
            except ValueError as error:
                self._n_errors += 1
                event_id = error.event_id if isinstance(error, WrongMessage) else None
                self._put(self._codec.encode_error(str(error), event_id=event_id))
        return _End(f"{self._n_errors} messages were wrong", CLOSE_NOT_ALLOWED)


async def _obey(session: LiveSession, message: ClientMessage) -> bool:
    """Pass a message of the client on; False when the client is done."""
    match message:
        case MicrophoneAudio(audio=audio):
            session.push_audio(audio)
        case ShownFrame(lane=lane, frame=frame):
            session.show(lane, frame)
        case TypedText(text=text):
            session.type_text(text)
        case Instructions(text=text):
            await asyncio.to_thread(session.instruct, text)  # as long as some micro-turns
        case CancelDelegation(delegation_id=delegation_id):
            session.cancel(delegation_id)
        case Close():
            return False
        case _:
            assert_never(message)
    return True
