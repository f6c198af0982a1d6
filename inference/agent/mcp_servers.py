"""Tools of MCP servers: programs that are started here, or addresses.

A server is connected to when the agent starts, and again after it has gone. Nothing that it says
is believed: names, schemas and answers are cut to size, and wait no longer than the delegation.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from mcp import Client, MCPError
from mcp import Tool as OfferedTool
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CONNECTION_CLOSED, CallToolResult, TextContent

from microturn.inference.agent.agent import MAX_RESULT
from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.cards import Card, ListCard, TableCard, clean
from microturn.inference.agent.limits import capped_http, capped_stdio
from microturn.inference.agent.tools.tool import Arguments, Tool, ToolRequest

MAX_TOOLS: Final = 64  # of one server
_MAX_SCHEMA: Final = 20_000  # characters
_MAX_MEANING: Final = 500
_MAX_ARGUMENT_WORDS: Final = 8
_CONNECT_S: Final = 20.0
_LEFT_ALONE_S: Final = 30.0  # after it could not be reached, so that other requests do not wait
_WORDS_OF_NAME: Final = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+")
_VERBS: Final = frozenset(("get", "find", "fetch", "show", "query", "read", "list", "lookup"))
_FILLERS: Final = frozenset(("a", "an", "the", "in", "for", "of", "at", "about", "please", "to"))


class McpServer:
    """One server: its connection, which a task of its own holds, and its tools."""

    def __init__(self, where: str, *, timeout_s: float) -> None:
        self.where, self._timeout_s = where, timeout_s
        self._client: asyncio.Future[Client] | None = None
        self._task: asyncio.Task[None] | None = None
        self._tools: tuple[Tool, ...] = ()
        self._left_alone_until_s = 0.0

    async def tools(self) -> tuple[Tool, ...]:
        """Return its tools; none for a while after it could not be reached."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._left_alone_until_s:
            return ()
        try:
            await self.client()
        except NoAnswer as error:
            sys.stderr.write(f"background agent: {error}\n")
            self._left_alone_until_s = now_s + _LEFT_ALONE_S
            return ()
        return self._tools

    def connect(self) -> None:
        """Begin to connect, unless it is connected or about to be."""
        if self._task is None or self._task.done():
            self._client = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._hold(self._client))

    async def client(self) -> Client:
        """Return the connection, a new one after the last has broken."""
        self.connect()
        assert self._client is not None
        try:
            return await asyncio.wait_for(asyncio.shield(self._client), _CONNECT_S)
        except TimeoutError:
            await self.close()
            raise NoAnswer(f"{self.where} does not answer") from None

    async def call(self, name: str, arguments: Arguments, work: Work) -> CallToolResult:
        """Call a tool; raises NoAnswer with what the server, or its silence, says."""
        client = await self.client()

        async def tell(progress: float, total: float | None, message: str | None) -> None:
            part = f"{progress:g}" if total is None else f"{progress:g} of {total:g}"
            work.tell.progress(clean(f"{name}: {part} {message or ''}", 200))

        try:
            return await client.call_tool(
                name, dict(arguments), self._timeout_s, progress_callback=tell
            )
        except MCPError as error:
            if error.error.code == CONNECTION_CLOSED:
                await self.close()
            raise NoAnswer(f"{name}: {clean(str(error), 200)}") from error
        except Exception as error:  # answers that break mcp's own rules end in many kinds
            raise NoAnswer(f"{name}: {clean(str(error), 200)}") from error

    async def close(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    async def _hold(self, connected: asyncio.Future[Client]) -> None:
        """Hold the connection in the task that opened it, as its scopes demand."""
        try:
            async with capped_http(timeout_s=self._timeout_s) as http:
                is_address = self.where.startswith(("http://", "https://"))
                transport = (
                    streamable_http_client(self.where, http_client=http)
                    if is_address
                    else capped_stdio(shlex.split(self.where))
                )
                async with Client(transport, mode="auto", cache=None) as client:
                    offered = (await client.list_tools()).tools[:MAX_TOOLS]
                    self._tools = tuple(McpTool(self, tool) for tool in offered if _is_sane(tool))
                    connected.set_result(client)
                    await asyncio.Event().wait()
        except Exception as error:
            if not connected.done():
                reason = clean(_first(error), 200) or type(error).__name__
                connected.set_exception(NoAnswer(f"{self.where} cannot be used: {reason}"))
                connected.exception()  # somebody has seen it, if nobody waits


def _first(error: BaseException) -> str:
    """Return the message of the first error inside groups of them."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _is_sane(tool: OfferedTool) -> bool:
    return bool(tool.name.strip()) and len(str(tool.input_schema)) <= _MAX_SCHEMA


class McpTool:
    """One tool of a server."""

    def __init__(self, server: McpServer, offered: OfferedTool) -> None:
        self._server, self._called = server, offered.name
        self.name = re.sub(r"[^A-Za-z0-9_-]", "_", offered.name)[:60]
        self.meaning = clean(offered.description or offered.title or "", _MAX_MEANING)
        self.parameters: Mapping[str, Any] = offered.input_schema
        spoken = [word.lower() for word in _WORDS_OF_NAME.findall(offered.name)]
        self._spoken = spoken[1:] if len(spoken) > 1 and spoken[0] in _VERBS else spoken

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        """Find the tool's name in the user's words; what follows is its only text argument."""
        n = len(self._spoken)
        for start in range(len(words) - n, -1, -1):
            if list(words[start : start + n]) == self._spoken:
                rest = [word for word in words[start + n :] if word not in _FILLERS]
                text = " ".join(rest[:_MAX_ARGUMENT_WORDS])
                arguments = self._arguments(text)
                if arguments is None:
                    return None
                about = f"{' '.join(self._spoken)} {text}".strip()
                return ToolRequest(tool=self.name, text=about, end=len(words), arguments=arguments)
        return None

    def _arguments(self, text: str) -> Arguments | None:
        properties = self.parameters.get("properties") or {}
        required = list(self.parameters.get("required") or ())
        texts = [name for name, schema in properties.items() if _is_text(schema)]
        wanted = required or texts[:1]
        if not required and not text:
            return {}
        if len(wanted) != 1 or wanted[0] not in texts or not text:
            return None
        return {wanted[0]: text}

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        result = await self._server.call(self._called, arguments, work)
        texts = [block.text for block in result.content if isinstance(block, TextContent)]
        text = "\n".join(texts)[:MAX_RESULT]
        if result.is_error:
            raise NoAnswer(f"{self.name}: {clean(text, 200) or 'failed'}")
        card = card_of(result.structured_content, title=self.name)
        return Reply(text=text, cards=() if card is None else (card,))


def _is_text(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") == "string"


def card_of(content: Any, *, title: str) -> Card | None:
    """Show structured content that is a list, of texts or of flat objects."""
    if isinstance(content, Mapping) and len(content) == 1:
        content = next(iter(content.values()))
    if not isinstance(content, list) or not content:
        return None
    if all(isinstance(entry, Mapping) for entry in content):
        columns = tuple(map(str, content[0]))
        rows = tuple(tuple(str(entry.get(name, "")) for name in columns) for entry in content[:50])
        return TableCard(title=title, columns=columns, rows=rows)
    return ListCard(title=title, items=tuple(str(entry) for entry in content[:50]))


class McpServers:
    """All servers of an agent; connecting begins at once, inside a running event loop."""

    def __init__(self, where: Sequence[str], *, timeout_s: float) -> None:
        self._servers = [McpServer(one, timeout_s=timeout_s) for one in where]
        for server in self._servers:
            server.connect()

    async def tools(self, taken: Sequence[str]) -> tuple[Tool, ...]:
        """Return the tools of the servers that answer, under names that are not taken."""
        found: dict[str, Tool] = {}
        for tools in await asyncio.gather(*(server.tools() for server in self._servers)):
            for tool in tools:
                if tool.name not in taken:
                    found.setdefault(tool.name, tool)
        return tuple(found.values())

    async def close(self) -> None:
        await asyncio.gather(*(server.close() for server in self._servers))
