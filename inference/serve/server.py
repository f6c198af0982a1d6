"""The server: a socket for audio both ways, the page, health and metrics. No state of its own.

Each connection has a receiver, which hands micro-turns to the engine, and a sender, which empties
a bounded outbox. The model never runs on the event loop, and the event loop never waits for it.
"""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from microturn.inference.audio import Reassembler, encode_pcm16
from microturn.inference.config import ServeConfig, is_loopback
from microturn.inference.serve import protocol
from microturn.inference.serve.engine import EngineFull, LiveEngine, LiveSession, Problem, Turn

WEB: Final = Path(__file__).resolve().parent / "web"
_OUTBOX_TURNS: Final = 25  # micro-turns of audio that may wait for a slow connection
_OUTBOX_EVENTS: Final = 500
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_CONTENT_POLICY: Final = "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:"


def create_app(engine: LiveEngine, config: ServeConfig) -> Starlette:
    """The application around one engine; starts it and stops it."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(engine.stop)

    async def talk(websocket: WebSocket) -> None:
        refusal = _refusal(websocket, config)
        if refusal:
            await websocket.send_denial_response(PlainTextResponse(refusal, status_code=403))
            return
        await websocket.accept()
        await _Connection(websocket, engine, config).serve()

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", **engine.health()})

    async def metrics(request: Request) -> Response:
        refusal = _wrong_token(request, config)
        if refusal:
            return PlainTextResponse(refusal, status_code=403)
        if request.url.path.endswith(".json"):
            return JSONResponse(engine.metrics())
        return PlainTextResponse(engine.prometheus(), media_type=_PROMETHEUS)

    return Starlette(
        routes=[
            WebSocketRoute(protocol.PATH, talk),
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/metrics.json", metrics),
            Mount("/", _Page(directory=WEB, html=True)),
        ],
        lifespan=lifespan,
    )


class _Page(StaticFiles):
    """The files of the page, always fresh and free of anybody else's scripts."""

    async def get_response(self, path: str, scope: Scope):  # type: ignore[no-untyped-def]
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = _CONTENT_POLICY
        return response


def _wrong_token(connection: HTTPConnection, config: ServeConfig) -> str:
    """Why this request is not let in, or nothing."""
    given = connection.query_params.get("token", "")
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        given = bearer.strip()
    if not config.token or hmac.compare_digest(given.encode(), config.token.encode()):
        return ""
    return "this server needs its token; add ?token=... to the address"


def _refusal(websocket: WebSocket, config: ServeConfig) -> str:
    """Why this connection is not let in, or nothing."""
    if config.token:
        return _wrong_token(websocket, config)
    # Without a token only this machine is served, and only pages that came from here: any other
    # page that the user has open could reach a loopback address too.
    origin = websocket.headers.get("origin")
    if origin is None:
        return ""
    host = websocket.headers.get("host", "")
    page, name = urlsplit(origin).netloc, urlsplit(f"//{host}").hostname or ""
    if page == host and (is_loopback(name) or name == config.host):
        return ""
    return f"pages of {origin[:80]} may not talk to this server"


class _Outbox:
    """Messages that wait for the connection; when audio piles up the oldest is dropped."""

    def __init__(self) -> None:
        self._messages: deque[bytes | protocol.Json] = deque()
        self._audio = 0
        self._filled = asyncio.Event()
        self.dropped = 0

    def put(self, message: bytes | protocol.Json) -> None:
        self._messages.append(message)
        self._audio += isinstance(message, bytes)
        if self._audio > _OUTBOX_TURNS:
            del self._messages[
                next(i for i, waiting in enumerate(self._messages) if isinstance(waiting, bytes))
            ]
            self._audio -= 1
            self.dropped += 1
        self._filled.set()

    @property
    def waiting(self) -> int:
        return len(self._messages)

    @property
    def overflowing(self) -> bool:
        """The connection takes nothing any more."""
        return len(self._messages) > _OUTBOX_EVENTS

    async def get(self) -> bytes | protocol.Json:
        while not self._messages:
            self._filled.clear()
            await self._filled.wait()
        message = self._messages.popleft()
        self._audio -= isinstance(message, bytes)
        return message


class _Connection:
    """One client from its hello to its end."""

    def __init__(self, websocket: WebSocket, engine: LiveEngine, config: ServeConfig) -> None:
        self._websocket, self._engine, self._config = websocket, engine, config
        self._layout = engine.layout
        self._outbox = _Outbox()
        self._loop = asyncio.get_running_loop()
        self._fatal: asyncio.Future[str] = self._loop.create_future()
        self._errors = self._reported_input = self._reported_output = self._reported_late = 0

    async def serve(self) -> None:
        try:
            session = self._engine.open(self._deliver)
        except EngineFull as error:
            await self._say_goodbye(str(error), protocol.CLOSE_FULL, is_error=True)
            return
        self._outbox.put(protocol.hello(self._layout, session.name))
        try:
            await self._run(session)
        except (WebSocketDisconnect, OSError):
            pass  # the client has gone; there is nobody to tell
        finally:
            session.close()

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
            # Not gather: it would turn a cancellation from outside into one that nobody knows.
            await asyncio.wait([sender, receiver])
            failures = [task.exception() for task in (sender, receiver) if not task.cancelled()]
        for failure in filter(None, failures):
            raise failure
        if self._fatal.done():
            message = self._fatal.result()
            await self._say_goodbye(message, protocol.CLOSE_FAILED, is_error=True)
        elif not receiver.cancelled():
            reason, code = receiver.result()
            await self._flush()
            await self._say_goodbye(reason, code, is_error=False)

    async def _flush(self) -> None:
        """Send what waits already."""
        while self._outbox.waiting:
            await self._send_one(await self._outbox.get())

    async def _say_goodbye(self, reason: str, code: int, *, is_error: bool) -> None:
        if is_error:
            await self._websocket.send_json(protocol.error(reason))
        await self._websocket.send_json(protocol.closed(reason))
        await self._websocket.close(code, reason[:100])

    # --- out -----------------------------------------------------------------------------------
    def _deliver(self, message: Turn | Problem) -> None:
        """Called on the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._take, message)
        except RuntimeError:  # the loop was closed: the server is going down
            return

    def _take(self, message: Turn | Problem) -> None:
        if isinstance(message, Problem):
            if message.fatal and not self._fatal.done():
                self._fatal.set_result(message.message)
            else:
                self._outbox.put(protocol.error(message.message))
            return
        self._outbox.put(protocol.turn(message, self._outbox.dropped))
        self._outbox.put(encode_pcm16(message.audio))
        for happened in message.events:
            self._outbox.put(protocol.event(happened, self._layout))
        self._report_late(message.dropped, message.late)
        if self._outbox.overflowing and not self._fatal.done():
            self._fatal.set_result("the connection is too slow for its own audio")

    def _report_late(self, dropped_input: int, late_input: int) -> None:
        if late_input > self._reported_late:
            self._reported_late = late_input
            self._outbox.put(protocol.missing(late_input, self._layout))
        if dropped_input > self._reported_input:
            self._reported_input = dropped_input
            self._outbox.put(protocol.late("input", dropped_input, self._layout))
        if self._outbox.dropped > self._reported_output:
            self._reported_output = self._outbox.dropped
            self._outbox.put(protocol.late("output", self._outbox.dropped, self._layout))

    async def _send(self) -> None:
        while True:
            await self._send_one(await self._outbox.get())

    async def _send_one(self, message: bytes | protocol.Json) -> None:
        if isinstance(message, bytes):
            await self._websocket.send_bytes(message)
        else:
            await self._websocket.send_json(message)

    # --- in ------------------------------------------------------------------------------------
    async def _receive(self, session: LiveSession) -> tuple[str, int]:
        """Take messages until the client or a limit ends it; returns the reason and close code."""
        pieces = Reassembler(self._layout.samples_per_micro_turn)
        limit = self._config.idle_s or None
        while self._errors < protocol.MAX_ERRORS:
            try:
                message = await asyncio.wait_for(self._websocket.receive(), limit)
            except TimeoutError:
                return f"nothing was sent for {limit:g} s", protocol.CLOSE_DONE
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or protocol.CLOSE_DONE)
            try:
                data = message.get("bytes")
                if data is not None:
                    for audio in pieces.push(data):
                        session.push(audio)
                elif not self._obey(session, message.get("text") or ""):
                    return "goodbye", protocol.CLOSE_DONE
            except ValueError as error:
                self._errors += 1
                self._outbox.put(protocol.error(str(error)))
        return f"{self._errors} messages were wrong", protocol.CLOSE_NOT_ALLOWED

    def _obey(self, session: LiveSession, text: str) -> bool:
        """Do what a text message asks; False when the client is done."""
        match protocol.parse_client_message(text, self._layout):
            case protocol.TypedText(text=typed):
                session.type_text(typed)
            case protocol.CancelDelegation(delegation_id=delegation_id):
                session.cancel(delegation_id)
            case protocol.Close():
                return False
        return True


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything slow is loaded; says so when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise OSError(
            f"cannot listen on {host} port {port} ({reason.lower()}); "
            "choose another with port=N, or stop what uses it"
        ) from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """What to type into a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/"
