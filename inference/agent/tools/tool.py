"""A tool: one ability of the background agent, found by rules or called by a language model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from microturn.inference.agent.backend import NoAnswer, Reply, Work

Arguments = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ToolRequest:
    """A request in the user's words; `end` is the index after its last word."""

    tool: str
    text: str
    end: int
    arguments: Arguments = field(default_factory=dict)


class Tool(Protocol):
    """One ability of the agent; `find` reads the user's words, `call` does the work."""

    @property
    def name(self) -> str:
        """A name of letters, digits and underscores."""

    @property
    def meaning(self) -> str:
        """What it does, for a language model."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON schema of the arguments."""

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        """Find the latest request for this tool."""

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        """Reply a request; raises NoAnswer with one sentence."""


def latest_request(tools: Sequence[Tool], words: Sequence[str]) -> ToolRequest:
    """Return the request that ends last, as people ask and then wait."""
    requests = [request for tool in tools if (request := tool.find(words)) is not None]
    if not requests:
        raise NoAnswer("nothing in the conversation asks for what this agent can do")
    return max(requests, key=lambda request: request.end)


def text_schema(**meanings: str) -> dict[str, Any]:
    """JSON schema of arguments that are all required texts, each with its meaning."""
    return {
        "type": "object",
        "properties": {
            name: {"type": "string", "description": meaning} for name, meaning in meanings.items()
        },
        "required": list(meanings),
        "additionalProperties": False,
    }


def text_argument(arguments: Arguments, name: str) -> str:
    """Return an argument that has to be a text; raises NoAnswer otherwise."""
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise NoAnswer(f"the tool needs a text as {name}")
    return value
