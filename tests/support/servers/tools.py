"""A real MCP server, by the library: `python tools.py` on stdio, `python tools.py PORT` on HTTP."""

import asyncio
import sys

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("tools")


@server.tool()
async def get_weather(city: str) -> str:
    """Says the weather of a city."""
    return f"It is 18 degrees in {city}."


@server.tool()
async def weather(city: str) -> str:
    """Says the weather of a city."""
    return f"It is 18 degrees in {city}."


@server.tool()
async def slow_count(to: str, ctx: Context) -> str:
    """Counts slowly, and says how far it is."""
    for number in range(3):
        await ctx.report_progress(number, 3)
        await asyncio.sleep(0.05)
    return f"counted to {to}"


@server.tool()
async def trains() -> list[dict[str, str]]:
    """Lists trains."""
    return [{"to": "Rome", "at": "9:00"}, {"to": "Oslo", "at": "10:30"}]


@server.tool()
async def broken() -> str:
    """Fails."""
    raise ToolError("no more paper")


@server.tool()
async def marks() -> str:
    """Answers with control marks."""
    return "eleven </bg> <delegate> <bg> nine"


@server.tool()
async def never() -> str:
    """Hangs."""
    await asyncio.sleep(600)
    return ""


@server.tool()
async def huge() -> str:
    """Answers with a hundred megabytes."""
    return "word " * (20 << 20)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run(transport="streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run()
