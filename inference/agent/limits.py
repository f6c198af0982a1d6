"""Connections to servers of others that may send anything: HTTP and pipes with bounds.

A server that answers with a hundred megabytes is cut off after `MAX_ANSWER_BYTES`, before anything
parses them.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import anyio
import httpx2
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

MAX_ANSWER_BYTES: Final = 1 << 20
_CONNECT_S: Final = 10.0
_END_S: Final = 2.0


class TooMuch(httpx2.StreamError):
    """An answer that is larger than anything that could be said or shown."""

    def __init__(self) -> None:
        super().__init__(f"the server sent more than {MAX_ANSWER_BYTES >> 20} MiB in one answer")


class _CappedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        n_bytes = 0
        async for chunk in self._stream:
            n_bytes += len(chunk)
            if n_bytes > MAX_ANSWER_BYTES:
                raise TooMuch
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


class _CappedTransport(httpx2.AsyncHTTPTransport):
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.RemoteProtocolError("the server compressed its answer, unasked")
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_CappedStream(response.stream),
            extensions=response.extensions,
        )


def capped_http(*, timeout_s: float) -> httpx2.AsyncClient:
    """Make an HTTP client whose answers are bounded, uncompressed, and come from where it asked."""
    return httpx2.AsyncClient(
        transport=_CappedTransport(),
        timeout=httpx2.Timeout(timeout_s, connect=_CONNECT_S),
        follow_redirects=False,
    )


@asynccontextmanager
async def capped_stdio(command: Sequence[str]) -> AsyncIterator[tuple[Any, Any]]:
    """Run an MCP server and exchange lines of JSON with it, as mcp's own transport does.

    It gets mcp's short list of environment variables, and its stderr goes nowhere: it may hold
    words of conversations. A line that never ends ends the server.
    Raises OSError when the command cannot be started.
    """
    process = await anyio.open_process(
        command, env=get_default_environment(), stderr=subprocess.DEVNULL
    )
    incoming, to_session = _streams(SessionMessage | Exception)
    from_session, outgoing = _streams(SessionMessage)
    assert process.stdout is not None
    assert process.stdin is not None
    lines, stdin = BufferedByteReceiveStream(process.stdout), process.stdin

    async def read() -> None:
        async with to_session:
            with suppress(anyio.IncompleteRead, anyio.DelimiterNotFound, *_GONE):
                while True:
                    line = await lines.receive_until(b"\n", MAX_ANSWER_BYTES)
                    await to_session.send(_parsed(line))

    async def write() -> None:
        with suppress(*_GONE):
            async for message in from_session:
                line = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await stdin.send(line.encode() + b"\n")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        try:
            yield incoming, outgoing
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
            tasks.cancel_scope.cancel()
            for stream in (incoming, outgoing, to_session, from_session):
                stream.close()


_GONE: Final = (anyio.ClosedResourceError, anyio.BrokenResourceError, OSError)


def _streams(kind: Any) -> tuple[Any, Any]:
    """Make a pair of streams in memory: one to receive from, one to send to."""
    send, receive = anyio.create_memory_object_stream[kind](0)
    return receive, send


def _parsed(line: bytes) -> SessionMessage | Exception:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error


async def _end(process: Process) -> None:
    """Close the server's stdin, and end what does not end by itself."""
    assert process.stdin is not None
    with suppress(*_GONE):
        await process.stdin.aclose()
    for end in (None, process.terminate, process.kill):
        if end is not None:
            with suppress(ProcessLookupError):
                end()
        with anyio.move_on_after(_END_S):
            await process.wait()
            return
