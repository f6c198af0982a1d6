"""The back end that needs no network: rules find the request, tools answer it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.package import ContextPackage
from microturn.inference.agent.tools.calculator import Calculator
from microturn.inference.agent.tools.clock import Calendar, Clock
from microturn.inference.agent.tools.memory import NoteTool, ProgressTool, RecallTool
from microturn.inference.agent.tools.search import FolderIndex, Search
from microturn.inference.agent.tools.tool import Tool, latest_request
from microturn.inference.agent.tools.units import Units
from microturn.inference.config import AgentConfig

_TAKEN_BACK: Final = frozenset(("no", "sorry", "instead", "rather", "actually", "mean"))


def built_in_tools(
    config: AgentConfig, *, now: Callable[[], datetime] = datetime.now
) -> tuple[Tool, ...]:
    """Make the tools that come with microturn; search needs a folder."""
    folder = (Search(FolderIndex(config.folder)),) if config.folder else ()
    return (
        *(Calculator(), Units(), Clock(now, config.clock), Calendar(now)),
        *(NoteTool(), RecallTool(), ProgressTool(), *folder),
    )


class MoreTools(Protocol):
    """Tools from elsewhere, which may come and go."""

    async def tools(self, taken: Sequence[str]) -> tuple[Tool, ...]:
        """Return those whose names are not taken."""

    async def close(self) -> None:
        """Let go of them."""


class OfflineBackend:
    """Answers the user's last request with the tool whose rule finds it."""

    def __init__(self, tools: Sequence[Tool], more: MoreTools | None = None) -> None:
        self._tools, self._more = tuple(tools), more

    async def answer(self, work: Work) -> Reply:
        words = _new_words(work.package)
        taken = [tool.name for tool in self._tools]
        more = () if self._more is None else await self._more.tools(taken)
        tools = {tool.name: tool for tool in (*self._tools, *more)}
        request = latest_request(tuple(tools.values()), words)
        work.tell.progress(f"{request.tool}: {request.text}")
        if request.tool != ProgressTool.name and _TAKEN_BACK.intersection(words[: request.end]):
            for other in work.package.pending[-1:]:
                work.tell.supersede(other.delegation_id)
        return await tools[request.tool].call(request.arguments, work)

    async def close(self) -> None:
        if self._more is not None:
            await self._more.close()


def _new_words(package: ContextPackage) -> list[str]:
    """Return the user's words that no earlier delegation was about.

    Without them an agent that does not understand would answer the request before.
    """
    words = [word for word, micro_turn in package.asked if micro_turn > package.asked_after]
    if not words:
        raise NoAnswer("nothing was asked since the last delegation")
    return words


def make_offline(config: AgentConfig) -> OfflineBackend:
    """Make the back end of `agent.backend=offline`."""
    if not config.mcp:
        return OfflineBackend(built_in_tools(config))
    from microturn.inference.agent.mcp_servers import McpServers  # mcp takes a second to import

    more = McpServers(config.mcp, timeout_s=config.timeout_s)
    return OfflineBackend(built_in_tools(config), more)
