"""Who may come in: clients with the token, programs of this machine, and the page of the server.

A web page may open a socket to any address that its visitor reaches, and it names itself in the
header `Origin`; programs send none. Without a token only this machine is served, under its own
names: a foreign name that leads here is how a page elsewhere would get in.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from microturn.configs.load import ConfigError
from microturn.inference.config import TOKEN_VARIABLE, ServeConfig, is_loopback

NEEDS_TOKEN: Final = 401  # of HTTP: unauthorized
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
_SHOWN: Final = 80  # characters of a client's own text in a sentence


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why somebody may not come in: one sentence, and the status of HTTP that says it."""

    sentence: str
    status: int


def read_token(config: ServeConfig, environ: Mapping[str, str] = os.environ) -> str:
    """Return the token of the configuration, its file or the environment; empty: there is none.

    Raises ConfigError where several are given, and where a server that other machines reach has
    none; OSError for a file that cannot be read.
    """
    if config.token and config.token_file:
        raise ConfigError("token and token_file are both given; keep one of them")
    token = config.token
    if config.token_file:
        content = Path(config.token_file).expanduser().read_bytes()
        token = content.decode(errors="replace").strip()
        if not token or not token.isprintable():
            raise ConfigError(
                f"token_file={config.token_file} holds no token; it has to be one line of text"
            )
    token = token or environ.get(TOKEN_VARIABLE, "").strip()
    if not token and not is_loopback(config.host):
        raise ConfigError(
            f"host={config.host} can be reached from other machines: set the environment variable "
            f"{TOKEN_VARIABLE} or give token_file=FILE, or keep host=127.0.0.1"
        )
    return token


class Access:
    """The rules of one server; without a token it listens on a loopback address."""

    def __init__(self, token: str) -> None:
        self._token = token

    def refusal(self, connection: HTTPConnection) -> Refusal | None:
        """Return why this request or socket is refused, or None."""
        if not self._token:
            if connection.scope["type"] == "websocket" and "origin" not in connection.headers:
                return None  # a program: browsers name the page of every socket
            return self._stranger(connection) or self._foreign_page(connection)
        by_header, given = _tokens(connection)
        if not given:
            return Refusal(
                sentence="this server needs its token: add ?token=... to the address, or send the "
                "header Authorization: Bearer ...",
                status=NEEDS_TOKEN,
            )
        if not self._is_token(given):
            sentence = "this is not the token of the server; ask whoever started it"
            return Refusal(sentence=sentence, status=NEEDS_TOKEN)
        # No page can set the header, but any page may hold an address with a token in it.
        return None if by_header else self._foreign_page(connection)

    def knows(self, connection: HTTPConnection) -> bool:
        """Tell whether a request brings the token; without one on the server, all do."""
        return not self._token or self._is_token(_tokens(connection)[1])

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    @staticmethod
    def _stranger(connection: HTTPConnection) -> Refusal | None:
        """Refuse who asks for this machine under a name that is not its own."""
        host = connection.headers.get("host", "")
        if is_loopback(_split(f"//{host}")[1]):
            return None
        sentence = (
            f"this server serves its own machine only, and was asked as {host[:_SHOWN]!r}; start "
            f"it with a token ({TOKEN_VARIABLE} or token_file=FILE) to serve others"
        )
        return Refusal(sentence=sentence, status=FORBIDDEN)

    @staticmethod
    def _foreign_page(connection: HTTPConnection) -> Refusal | None:
        """Refuse pages that did not come from this server."""
        origin = connection.headers.get("origin")
        host = connection.headers.get("host", "").lower()
        if origin is None or (host and _split(origin)[0] == host):
            return None
        sentence = (
            f"pages of {origin[:_SHOWN]!r} may not talk to this server; open the page of the "
            "server itself, and let a proxy pass the header Host on unchanged"
        )
        return Refusal(sentence=sentence, status=FORBIDDEN)


def _tokens(connection: HTTPConnection) -> tuple[str, str]:
    """Return the token of the header, and that of header or address; empty where there is none."""
    by_header = _bearer(connection)
    return by_header, by_header or connection.query_params.get("token", "")


def _bearer(connection: HTTPConnection) -> str:
    """Return the token of the header Authorization, or an empty string."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _split(address: str) -> tuple[str, str]:
    """Return host with port and host name of an address, in small letters; empty if it has none."""
    try:
        parts = urlsplit(address)
        return parts.netloc.lower(), parts.hostname or ""
    except ValueError:  # such as "http://[": a client may send anything
        return "", ""
