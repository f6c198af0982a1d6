"""The limit of requests over HTTP, before anything looks at what they ask for."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from microturn.inference.serve.access import TOO_MANY, Access, Refusal
from microturn.inference.serve.gate.gate import Gate
from microturn.inference.serve.routes import too_many_requests


def refusal_of(connection: HTTPConnection, gate: Gate, access: Access) -> Refusal | None:
    """Count a request or a handshake; returns why it is refused, or None."""
    host = connection.client.host if connection.client else ""
    sentence = gate.ask(host, is_known=access.knows(connection))
    return Refusal(sentence=sentence, status=TOO_MANY) if sentence else None


class RequestLimit:
    """Answers with 429 and closes the connection where an address asks too often.

    Sockets count themselves, since a refusal is told in their protocol.
    """

    def __init__(self, app: ASGIApp, gate: Gate, access: Access) -> None:
        self._app, self._gate, self._access = app, gate, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http":
            refusal = refusal_of(HTTPConnection(scope), self._gate, self._access)
            if refusal:
                app = too_many_requests(scope["path"], refusal)
        await app(scope, receive, send)
