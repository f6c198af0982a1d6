"""One client of the server: its socket, its codec, its outbox, and what it may ask for.

Each connection has a receiver, which hands micro-turns to the engine, and a sender, which empties
the outbox. The model never runs on the event loop, and the event loop never waits for it. Nothing
that a client does or leaves undone keeps its place: whatever ends the conversation gives the place
back first and says why afterwards, and a client that does not read is cut off.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, assert_never

from starlette.websockets import WebSocket, WebSocketDisconnect

from microturn.inference.config import ServeConfig
from microturn.inference.serve.closing import (
    CLOSE_DONE,
    CLOSE_FAILED,
    CLOSE_FULL,
    CLOSE_NOT_ALLOWED,
    CLOSE_STOPPING,
    End,
    failure,
    is_lost,
)
from microturn.inference.serve.codec import (
    CancelDelegation,
    ClientMessage,
    ClientRefused,
    Close,
    Codec,
    ContextText,
    DelegateToClient,
    GoBack,
    Instructions,
    MicrophoneAudio,
    ServerMessage,
    ShownFrame,
    TypedText,
    Unplayed,
    WrongMessage,
)
from microturn.inference.serve.engine import EngineFull, LiveEngine, MakeRoom
from microturn.inference.serve.outbox import Outbox
from microturn.inference.serve.pace import ClientPace
from microturn.inference.serve.report import MicroTurnReport, Problem, Report
from microturn.inference.serve.session.live_session import LiveSession

MAX_MESSAGE_BYTES: Final = 1 << 20
SEND_S: Final = 10.0  # one message may take so long; a client that reads takes none of it
_AT_ONCE: Final = 8  # parts of one message, before it is the others' turn
GOODBYE_S: Final = 3.0  # so may all that waits at the end
HELD_S: Final = 5.0  # a full server leaves a client its place so long after its connection broke
# The server's extension of a socket's scope: a call that cuts the connection, without a goodbye
# that would wait for a client that does not read.
CUT_OFF: Final = "microturn.cut_off"


class Connection:
    """One client from its greeting to its end."""

    def __init__(
        self,
        websocket: WebSocket,
        engine: LiveEngine,
        *,
        codec: Codec,
        config: ServeConfig,
        source: Connection | None = None,  # whose conversation this one begins as a twin of
    ) -> None:
        self._websocket, self._engine, self._codec = websocket, engine, codec
        self._source = source
        self._idle_s, self._longest_s = config.idle_s, config.longest_s
        self._outbox, self._pace = Outbox(), ClientPace(config)
        self._loop = asyncio.get_running_loop()
        self._began_s = self._heard_s = self._loop.time()
        self._end: asyncio.Future[End] = self._loop.create_future()
        self._session: LiveSession | None = None
        self.was_shown_out = False  # for what it sent
        self._resume_s = config.resume_s
        self._next_socket: asyncio.Future[tuple[WebSocket, int]] = self._loop.create_future()
        self._over = asyncio.Event()
        self._reading = asyncio.Lock()  # held while a message is carried out
        self._n_read = 0  # messages of the client, over all its sockets
        self._has_closed = False  # the client said that it goes, and gave no code
        self.spare_from_s = math.inf  # from then on (the loop's time) another may have its place

    @property
    def token(self) -> str:
        """What lets the client return; empty: nothing does."""
        return "" if self._end.done() or not self._resume_s else self._codec.token

    @property
    def codec(self) -> Codec:
        return self._codec

    async def serve(self, make_room: MakeRoom) -> None:
        """Serve the client to the end of its conversation, over another socket if it returns.

        `make_room` may end another conversation if the server is full.
        """
        try:
            session = self._session = self._join(make_room)
            self._put(self._codec.greeting(session.name, warning=session.warning))
        except EngineFull as error:
            self._finish(failure(str(error), CLOSE_FULL))
        try:
            while await self._serve_socket() and await self._returned():
                pass
        finally:
            if self._session is not None:
                self._session.leave()
            self._over.set()

    def _join(self, make_room: MakeRoom) -> LiveSession:
        if self._source is None:
            return self._engine.join(self._deliver, make_room=make_room)
        assert self._source._session is not None
        self._codec.become_twin(self._source.codec)
        return self._source._session.fork(self._deliver)

    async def come_back(self, websocket: WebSocket, n_received: int) -> None:
        """Go on over another socket, after `n_received` messages; returns when all is over.

        Raises ValueError for more messages than were sent.
        """
        if self._next_socket.done():
            raise ValueError("this session is just being resumed over another connection")
        if not 0 <= n_received <= self._outbox.n_sent:
            n_sent = self._outbox.n_sent
            raise ValueError(f"received={n_received} is no number of messages: {n_sent} were sent")
        self._next_socket.set_result((websocket, n_received))
        await self._over.wait()

    def give_place(self) -> None:
        """End the conversation of a client that is away, for another one that is here."""
        self._finish(End("its place was given to another client", CLOSE_FULL))
        if self._session is not None:
            self._session.leave()

    async def _serve_socket(self) -> bool:
        """Serve one socket to its end; True when the client may return over another."""
        sender = asyncio.create_task(self._send())
        try:
            if self._session is not None and await self._talk(self._session, sender):
                return True
            if self._end.done():
                await self._say_goodbye(self._end.result(), sender)
        except (WebSocketDisconnect, OSError):
            pass  # the client has gone
        finally:
            await _cancelled(sender)
        return False

    async def _returned(self) -> bool:
        """Wait for the next socket of a client whose connection was lost; False: it is over."""
        waited: list[asyncio.Future[Any]] = [self._next_socket, self._end]
        if not self._next_socket.done():
            self.spare_from_s = self._loop.time() + (0.0 if self._has_closed else HELD_S)
        await asyncio.wait(waited, timeout=self._resume_s, return_when=asyncio.FIRST_COMPLETED)
        self.spare_from_s, self._has_closed = math.inf, False
        if self._end.done() or not self._next_socket.done():
            return False
        self._cut_off()  # what is left of the connection before
        self._websocket, n_received = self._next_socket.result()
        n_lost = self._outbox.send_again(n_received)
        self._put(self._codec.welcome_back(n_read=self._n_read, n_lost=n_lost))
        self._next_socket = self._loop.create_future()
        self._heard_s = self._loop.time()
        return True

    def stop(self, reason: str) -> None:
        """End the conversation because the server stops."""
        self._finish(End(reason, CLOSE_STOPPING))

    async def _talk(self, session: LiveSession, sender: asyncio.Task[None]) -> bool:
        """Receive until something ends the conversation, and free its place.

        True, and its place is kept, when the connection was lost, or the client has another one.
        Raises what went wrong with the socket.
        """
        receiver = asyncio.create_task(self._receive(session))
        ends: list[asyncio.Future[Any]] = [sender, receiver, self._end, self._next_socket]
        is_kept = False
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            has_lost = is_lost(sender) or is_lost(receiver)
            is_kept = self._next_socket.done() or bool(has_lost and self.token)
            is_kept &= not self._end.done()
        finally:
            if is_kept:
                async with self._reading:  # a message that counts as read is carried out
                    await _cancelled(receiver)
            else:
                session.leave()
                await _cancelled(receiver)
        if is_kept:
            return True
        if not self._end.done():
            for task in (receiver, sender):
                if task.done() and not task.cancelled():
                    task.result()
        return False

    async def _say_goodbye(self, end: End, sender: asyncio.Task[None]) -> None:
        """Send what waits and why it ends, as long as the client reads."""
        errors = self._codec.encode_error(end.error) if end.error else []
        self._outbox.finish([*errors, *self._codec.farewell(end.reason, kind=end.kind)])
        try:
            async with asyncio.timeout(GOODBYE_S):
                await sender
                await self._websocket.close(end.code, end.reason[:100])
        except TimeoutError:
            self._cut_off()

    def _cut_off(self) -> None:
        """Cut the connection, where the server can."""
        extensions = self._websocket.scope.get("extensions") or {}
        extensions.get(CUT_OFF, _leave_to_server)()

    def _finish(self, end: End) -> None:
        """End the conversation; the first reason counts."""
        if not self._end.done():
            self._end.set_result(end)

    # --- out -----------------------------------------------------------------------------------
    def _deliver(self, message: Report) -> None:
        """Hand a message of the engine's thread to the event loop."""
        try:
            self._loop.call_soon_threadsafe(self._handle, message)
        except RuntimeError:  # the loop was closed: the server is going down
            return

    def _handle(self, message: Report) -> None:
        if isinstance(message, Problem):
            if message.fatal:
                self._finish(failure(message.message, CLOSE_FAILED))
            else:
                self._refuse(WrongMessage(message.message, event_id=message.event_id))
            return
        if not isinstance(message, MicroTurnReport):
            self._put(self._codec.encode_done(message))
            return
        messages = self._codec.encode_report(message, dropped_output=self._outbox.dropped)
        for one in messages:
            if isinstance(one, Unplayed):
                self._mark_unplayed(one.micro_turns)
            else:
                self._put([replace(one, micro_turn=message.micro_turn)])
        unplayed = self._outbox.take_unplayed()
        self._mark_unplayed(unplayed)
        if unplayed:
            self._put(self._codec.encode_dropped_output(unplayed, n_dropped=self._outbox.dropped))

    def _mark_unplayed(self, micro_turns: Sequence[int]) -> None:
        for micro_turn in micro_turns:
            if self._session is not None:
                self._session.mark_unplayed(micro_turn)

    def _put(self, messages: list[ServerMessage]) -> None:
        for message in messages:
            self._outbox.put(message)
        if self._outbox.is_overflowing:
            self._finish(failure("the connection is too slow for its own audio", CLOSE_FAILED))

    def _refuse(self, error: WrongMessage, *, n_bytes: int = 0) -> None:
        """Say that a message was wrong, whoever found it; one too many ends the conversation."""
        self._put(self._codec.encode_error(error))
        if not self._pace.take_error(n_bytes):
            self.was_shown_out = True
            self._finish(End("too many messages were wrong", CLOSE_NOT_ALLOWED))

    async def _send(self) -> None:
        """Send until the last message; raises TimeoutError when one was not taken in time."""
        while (message := await self._outbox.get()) is not None:
            try:
                async with asyncio.timeout(SEND_S):
                    await self._send_one(message)
            except TimeoutError:
                self._cut_off()
                raise

    async def _send_one(self, message: ServerMessage) -> None:
        if isinstance(message.payload, bytes):
            await self._websocket.send_bytes(message.payload)
        else:
            await self._websocket.send_text(message.payload)

    # --- in ------------------------------------------------------------------------------------
    async def _receive(self, session: LiveSession) -> None:
        """Read messages until one of them, or the clock, ends the conversation."""
        while not self._end.done():
            deadline_s, end = self._deadline()
            try:
                async with asyncio.timeout_at(deadline_s if deadline_s < math.inf else None):
                    message = await self._websocket.receive()
                    # A message that waits already comes without a pause. Let the others go first,
                    # and the clock pass.
                    await asyncio.sleep(0)
            except TimeoutError:
                self._finish(end)
                break
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or CLOSE_DONE
                self.was_shown_out |= code == CLOSE_NOT_ALLOWED  # by the socket itself
                self._has_closed = "reason" in message  # uvicorn gives the one of a close frame
                raise WebSocketDisconnect(code)
            binary = message.get("bytes")
            data = (message.get("text") or "") if binary is None else binary
            try:
                async with self._reading:
                    self._n_read += 1
                    await self._read(session, data)
            except ClientRefused as error:
                self._finish(End(str(error), CLOSE_NOT_ALLOWED, error=error))
            except WrongMessage as error:
                self._refuse(error, n_bytes=len(data))
            except ValueError as error:
                self._refuse(WrongMessage(str(error)), n_bytes=len(data))

    def _deadline(self) -> tuple[float, End]:
        """Return when the conversation ends by the clock alone (the loop's), and why."""
        idle_s, longest_s = self._idle_s or math.inf, self._longest_s or math.inf
        if self._heard_s + idle_s <= self._began_s + longest_s:
            reason = f"no audio was sent for {self._idle_s:g} s"
            return self._heard_s + idle_s, End(reason, CLOSE_DONE, "expired")
        reason = f"the conversation has lasted {self._longest_s:g} s, which is the longest here"
        return self._began_s + longest_s, End(reason, CLOSE_DONE, "expired")

    async def _read(self, session: LiveSession, data: str | bytes) -> None:
        """Carry out one message; raises ValueError for a wrong one, and one that came too fast."""
        self._pace.take_message()
        for k, decoded in enumerate(self._codec.decode(data), start=1):
            if k % _AT_ONCE == 0:
                await asyncio.sleep(0)
            if isinstance(decoded, ServerMessage):
                self._put([decoded])
            else:
                await self._obey(session, decoded)

    async def _obey(self, session: LiveSession, message: ClientMessage) -> None:
        """Pass a message of the client on, if it keeps to its pace."""
        if isinstance(message, MicrophoneAudio):
            self._pace.take_audio(self._engine.layout.micro_turn_s)
            self._heard_s = self._loop.time()
            session.push_audio(message.audio)
            return
        if isinstance(message, Close):
            self._finish(End("goodbye", CLOSE_DONE, "asked"))
            return
        self._pace.take_request()
        match message:
            case ShownFrame(lane=lane, frame=frame):
                session.show(lane, frame)
            case TypedText(text=text):
                session.type_text(text)
            case Instructions():
                await _instruct(session, message)
            case ContextText():
                session.add_context(message)
            case GoBack(n_micro_turns=n_micro_turns):
                await asyncio.wrap_future(session.go_back(n_micro_turns))
            case DelegateToClient():
                session.delegate_to_client()
            case Unplayed(micro_turns=micro_turns):
                self._mark_unplayed(micro_turns)
            case CancelDelegation(delegation_id=delegation_id):
                session.cancel(delegation_id)
            case _:
                assert_never(message)


async def _instruct(session: LiveSession, message: Instructions) -> None:
    """Have the model read instructions, which takes as long as some micro-turns."""
    try:
        await asyncio.to_thread(session.instruct, message.text)
    except ValueError as error:
        if message.on_refusal is None:
            raise
        message.on_refusal(str(error))


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end, whatever that is."""
    task.cancel()
    await asyncio.wait([task])  # not gather: it would hide a cancellation from outside
    if not task.cancelled():
        task.exception()  # taken note of: whoever waits for the task has seen it


def _leave_to_server() -> None:
    """Stand in for the extension where the server has none: it keeps the connection's time."""
