"""The server: sockets for audio both ways, the page, health and metrics; it keeps no state."""

from __future__ import annotations

import asyncio
import hmac
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Scope
from starlette.websockets import WebSocket

from microturn.configs.signals import HANGING_UP, Interrupted, handling
from microturn.inference.agent.agent import OfflineAgent
from microturn.inference.config import ServeConfig, is_loopback
from microturn.inference.load import device_name, load_rows
from microturn.inference.notes import check_notes
from microturn.inference.opening import read_opening
from microturn.inference.serve import protocol
from microturn.inference.serve.admission import measured_admission
from microturn.inference.serve.codec import Codec
from microturn.inference.serve.connection import MAX_MESSAGE_BYTES, Connection
from microturn.inference.serve.engine import LiveEngine
from microturn.model.streams import StreamLayout

if TYPE_CHECKING:
    import uvicorn

WEB: Final = Path(__file__).resolve().parent / "web"
# Path of a socket and the codec of its connections.
PROTOCOLS: Final[dict[str, Callable[[StreamLayout], Codec]]] = {
    protocol.PATH: protocol.MicroturnCodec,
}
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_CONTENT_POLICY: Final = "default-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:"


def serve_sessions(config: ServeConfig) -> int:
    """Run `microturn serve` until it is interrupted."""
    listener = listen(config.host, config.port)  # before the model: a used port is reported at once
    with listener:
        import uvicorn

        batch = load_rows(
            config.checkpoint,
            config.max_sessions,
            seed=config.seed,
            threads=config.threads,
            device=config.device,
        )
        check_notes(config.notes, batch.layout)
        opening = read_opening(
            batch,
            voice=config.voice,
            voice_text=config.voice_text,
            instructions=config.instructions,
        )
        engine = LiveEngine(
            batch,
            config,
            agent=OfflineAgent(clock=config.agent.clock) if config.agent.enabled else None,
            admission=measured_admission(batch, config),
            opening=opening,
        )
        for note in opening.notes:
            print(note, file=sys.stderr)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(engine, config),
                log_level="warning",
                access_log=False,
                ws="websockets-sansio",
                ws_max_size=MAX_MESSAGE_BYTES,
                ws_per_message_deflate=False,
                timeout_graceful_shutdown=3,
            )
        )
        print(
            f"serving {config.checkpoint} on {url_of(listener, config.host)} with "
            f"{device_name(batch.device)} (Ctrl-C stops)",
            file=sys.stderr,
            flush=True,
        )
        _run(server, listener)
    return 0


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until a signal; uvicorn raises Ctrl-C and SIGTERM again, and knows no SIGHUP."""
    numbers: list[int] = []

    def hang_up(number: int, _: FrameType | None) -> None:
        numbers.append(number)
        server.should_exit = True

    with handling(hang_up, HANGING_UP):
        server.run(sockets=[listener])
    if numbers:
        raise Interrupted(numbers[0])


def create_app(engine: LiveEngine, config: ServeConfig) -> Starlette:
    """Build the application around one engine; it starts and stops the engine."""

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
        codec = PROTOCOLS[websocket.url.path](engine.layout)
        await websocket.accept(codec.subprotocol(websocket.scope.get("subprotocols", ())))
        await Connection(websocket, engine, codec=codec, config=config).serve()

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok", **engine.health()})

    async def metrics(request: Request) -> Response:
        refusal = _token_refusal(request, config)
        if refusal:
            return PlainTextResponse(refusal, status_code=403)
        if request.url.path.endswith(".json"):
            return JSONResponse(engine.metrics())
        return PlainTextResponse(engine.prometheus(), media_type=_PROMETHEUS)

    return Starlette(
        routes=[
            *(WebSocketRoute(path, talk) for path in PROTOCOLS),
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/metrics.json", metrics),
            Mount("/", _Page(directory=WEB, html=True)),
        ],
        lifespan=lifespan,
    )


class _Page(StaticFiles):
    """The files of the page, never cached and without scripts from elsewhere."""

    async def get_response(self, path: str, scope: Scope):  # type: ignore[no-untyped-def]
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        response.headers["Content-Security-Policy"] = _CONTENT_POLICY
        return response


def _token_refusal(connection: HTTPConnection, config: ServeConfig) -> str:
    """Return why the token of this request is refused, or an empty string."""
    token = connection.query_params.get("token", "")
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        token = bearer.strip()
    if not config.token or hmac.compare_digest(token.encode(), config.token.encode()):
        return ""
    return "this server needs its token; add ?token=... to the address"


def _refusal(websocket: WebSocket, config: ServeConfig) -> str:
    """Return why this connection is refused, or an empty string."""
    if config.token:
        return _token_refusal(websocket, config)
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


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises OSError with the way out when the port is not free."""
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
            "choose another with port=N, or stop the program that uses it"
        ) from error
    return listener


def url_of(listener: socket.socket, host: str) -> str:
    """Return the address for a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}/"
