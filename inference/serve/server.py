"""The server: sockets for audio both ways, the page, models, health and metrics; no state."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from microturn.configs.load import ConfigError
from microturn.configs.signals import HANGING_UP, Interrupted, handling
from microturn.inference.agent.process import start_agent
from microturn.inference.config import ServeConfig
from microturn.inference.load import device_name, load_rows
from microturn.inference.notes import check_notes
from microturn.inference.opening import read_opening
from microturn.inference.serve import protocol
from microturn.inference.serve.access import Access, Refusal, read_token
from microturn.inference.serve.admission import measured_admission
from microturn.inference.serve.closing import CLOSE_FULL, CLOSE_NOT_ALLOWED
from microturn.inference.serve.codec import Codec, ServedModel, WrongMessage
from microturn.inference.serve.connection import MAX_MESSAGE_BYTES, Connection
from microturn.inference.serve.engine import LiveEngine
from microturn.inference.serve.gate.gate import PEER, Gate
from microturn.inference.serve.gate.request_limit import RequestLimit, refusal_of
from microturn.inference.serve.live import codec as live
from microturn.inference.serve.open_connections import OpenConnections
from microturn.inference.serve.pages import Page, SecurityHeaders
from microturn.inference.serve.realtime import codec as realtime
from microturn.inference.serve.routes import model_name, routes_of
from microturn.inference.serve.server_log import log_config
from microturn.model.config import folder_of

if TYPE_CHECKING:
    import uvicorn

# Path of a socket and the codec of its connections.
PROTOCOLS: Final[dict[str, Callable[[ServedModel], Codec]]] = {
    protocol.PATH: protocol.MicroturnCodec,
    live.PATH: live.LiveCodec,
    realtime.PATH: realtime.RealtimeCodec,
}


def serve_sessions(config: ServeConfig) -> int:
    """Run `microturn serve` until it is interrupted."""
    checkpoint = folder_of(config.checkpoint)
    config = replace(config, checkpoint=checkpoint, token=read_token(config), token_file="")
    check_certificate(config)
    listener = listen(config.host, config.port)  # before the model: a used port is reported at once
    with listener:
        batch = load_rows(
            config.checkpoint,
            config.max_sessions,
            seed=config.seed,
            threads=config.threads,
            device=config.device,
            rewind_s=config.rewind_s,
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
            agent=start_agent(config.agent),
            admission=measured_admission(batch, config),
            opening=opening,
        )
        for note in opening.notes:
            print(note, file=sys.stderr)
        scheme = "https" if config.ssl_certfile else "http"
        print(
            f"serving {config.checkpoint} on {url_of(listener, config.host, scheme=scheme)} with "
            f"{device_name(batch.device)} (Ctrl-C stops)",
            file=sys.stderr,
            flush=True,
        )
        run_server(make_server(engine, config), listener)
    return 0


def make_server(engine: LiveEngine, config: ServeConfig) -> uvicorn.Server:
    """Build the server around one engine; a listening socket is all that it needs to run."""
    import uvicorn

    from microturn.inference.serve.uvicorn_server import GuardedHttp, GuardedServer, GuardedSocket

    connections, gate = OpenConnections(), Gate(config)
    settings = uvicorn.Config(
        create_app(engine, config, connections, gate),
        log_level="warning",
        log_config=log_config(),
        access_log=False,
        ssl_certfile=config.ssl_certfile or None,
        ssl_keyfile=config.ssl_keyfile or None,
        loop="asyncio",
        http=GuardedHttp,
        ws=GuardedSocket,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,
        proxy_headers=bool(config.proxy),
        forwarded_allow_ips=config.proxy,
        timeout_graceful_shutdown=3,
    )
    return GuardedServer(settings, gate=gate, drain=connections.stop)


def run_server(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve until a signal; uvicorn raises Ctrl-C and SIGTERM again, and knows no SIGHUP."""
    numbers: list[int] = []

    def hang_up(number: int, _: FrameType | None) -> None:
        numbers.append(number)
        server.should_exit = True

    with handling(hang_up, HANGING_UP):
        server.run(sockets=[listener])
    if numbers:
        raise Interrupted(numbers[0])


def create_app(
    engine: LiveEngine,
    config: ServeConfig,
    connections: OpenConnections | None = None,
    gate: Gate | None = None,
) -> Starlette:
    """Build the application around one engine; it starts and stops the engine.

    Its conversations are kept in `connections`, for whoever has to tell them that it stops. What
    each address asks for is counted at `gate`.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.start()
        try:
            yield
        finally:
            await asyncio.to_thread(engine.stop)

    access, gate = Access(config.token), gate or Gate(config)
    open_connections = connections or OpenConnections()
    served = ServedModel(
        layout=engine.layout,
        name=model_name(config.checkpoint),
        longest_s=config.longest_s,
        resume_s=config.resume_s,
        max_rewind=engine.max_rewind,
    )

    async def talk(websocket: WebSocket) -> None:
        origin = websocket.path_params.get("session") or websocket.query_params.get("fork")
        path = live.PATH if "session" in websocket.path_params else websocket.url.path
        codec = PROTOCOLS[path](served)
        subprotocol = codec.subprotocol(websocket.scope.get("subprotocols", ()))
        refusal = refusal_of(websocket, gate, access) or access.refusal(websocket)
        if refusal:
            await _turn_away(websocket, refusal, codec=codec, subprotocol=subprotocol)
            return
        host = websocket.client.host if websocket.client else ""
        await gate.wait_for_turn(host)
        try:
            await websocket.accept(subprotocol)
        except WebSocketDisconnect:
            return  # it did not stay
        gate.keep((websocket.scope.get("extensions") or {}).get(PEER))
        token = websocket.query_params.get("resume")
        if token is not None:
            received = websocket.query_params.get("received", "")
            try:
                n_received = _whole_number(received)
                await open_connections.resume(websocket, token, n_received, codec=codec)
            except ValueError as error:
                await _show_out(websocket, str(error), codec=codec)
            return
        sentence = gate.begin_session(host)
        if sentence:
            await _show_out(websocket, sentence, codec=codec, code=CLOSE_FULL)
            return
        try:
            source = open_connections.find(origin, codec) if origin is not None else None
            connection = Connection(websocket, engine, codec=codec, config=config, source=source)
        except ValueError as error:
            gate.end_session(host)
            await _show_out(websocket, str(error), codec=codec)
            return
        try:
            await open_connections.serve(connection)
        finally:
            gate.end_session(host)
            if connection.was_shown_out:
                gate.show_out(host)

    async def refuse_kind(websocket: WebSocket) -> None:
        """Refuse the other sockets of a session of GPT-Live, which are sidebands."""
        codec = live.LiveCodec(served)
        refusal = refusal_of(websocket, gate, access) or access.refusal(websocket)
        kind = websocket.path_params["kind"][:40]
        sentence = f"{kind!r} of a session is not supported by this server; begin a session instead"
        if refusal:
            await _turn_away(websocket, refusal, codec=codec, subprotocol=None)
            return
        await websocket.accept()
        await _show_out(websocket, sentence, codec=codec)

    return Starlette(
        routes=[
            *(WebSocketRoute(path, talk) for path in PROTOCOLS),
            WebSocketRoute(f"{live.PATH}/{{session}}/fork", talk),
            WebSocketRoute(f"{live.PATH}/{{session}}/{{kind}}", refuse_kind),
            *routes_of(engine, access=access, checkpoint=config.checkpoint),
            Mount("/", Page()),
        ],
        middleware=[
            Middleware(SecurityHeaders),
            Middleware(RequestLimit, gate=gate, access=access),
        ],
        lifespan=lifespan,
    )


async def _turn_away(
    websocket: WebSocket, refusal: Refusal, *, codec: Codec, subprotocol: str | None
) -> None:
    """Say why a socket is refused: in HTTP to a program, in its own protocol to a page.

    A browser hides the answer to a refused handshake from its page.
    """
    if "origin" not in websocket.headers:
        response = PlainTextResponse(refusal.sentence, status_code=refusal.status)
        await websocket.send_denial_response(response)
        return
    try:
        await websocket.accept(subprotocol)
    except WebSocketDisconnect:
        return  # it did not stay to hear
    await _show_out(websocket, refusal.sentence, codec=codec)


def _whole_number(text: str) -> int:
    """Read how many events a client has received; raises ValueError for anything else."""
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError("say with received=N how many messages of the session have arrived")
    return int(text)


async def _show_out(
    websocket: WebSocket, sentence: str, *, codec: Codec, code: int = CLOSE_NOT_ALLOWED
) -> None:
    """Say over an open socket why it is refused, and close it."""
    messages = [
        *codec.encode_error(WrongMessage(sentence)),
        *codec.farewell(sentence, kind="broken"),
    ]
    try:
        for message in messages:
            assert isinstance(message.payload, str)
            await websocket.send_text(message.payload)
        await websocket.close(code, sentence[:100])
    except WebSocketDisconnect:
        return  # it did not stay to hear


def check_certificate(config: ServeConfig) -> None:
    """Raise ConfigError, before anything slow, where certificate and key cannot be used."""
    if not config.ssl_certfile:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(
            config.ssl_certfile,
            config.ssl_keyfile or None,
            password=lambda: "",  # else the terminal is asked
        )
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"ssl_certfile={config.ssl_certfile} ssl_keyfile={config.ssl_keyfile}: no certificate "
            f"and its key, in PEM and without a password ({error.strerror or error})"
        ) from error


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; raises OSError with the way out when the port is not free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio send small messages at once, without waiting
    # for the last one to be acknowledged (up to 40 ms).
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
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


def url_of(listener: socket.socket, host: str, *, scheme: str = "http") -> str:
    """Return the address for a browser."""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{listener.getsockname()[1]}/"
