"""The back end that asks a language model behind any OpenAI-compatible endpoint.

vLLM, SGLang, Ollama and llama.cpp serve such endpoints. The model gets the conversation, the tools
of the offline agent and those of MCP servers; what it writes is streamed as partial results.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, BadRequestError, OpenAIError

from microturn.inference.agent.backend import NoAnswer, Reply, Tell, Work
from microturn.inference.agent.cards import clean
from microturn.inference.agent.limits import capped_http
from microturn.inference.agent.mcp_servers import McpServers
from microturn.inference.agent.offline import built_in_tools
from microturn.inference.agent.prompt import messages_of
from microturn.inference.agent.tools.reply import NO_ANSWER, reply_tools
from microturn.inference.agent.tools.tool import Tool
from microturn.inference.config import AgentConfig

_MAX_CALLS: Final = 8  # of tools in one round
_MAX_WRITTEN: Final = 20_000  # characters of one round
_MAX_TOOL_ANSWER: Final = 4_000  # characters of one tool for the model
_SENTENCE_END: Final = re.compile(r"[.!?][\"')]*\s+")
Json = dict[str, Any]


@dataclass(kw_only=True)
class _Written:
    """What the model has written in one round."""

    text: str = ""
    n_told: int = 0  # characters that were told as partial results
    calls: dict[int, Json] = field(default_factory=dict)

    def add(self, delta: Any) -> None:
        """Add a piece of the stream; raises NoAnswer beyond all measure."""
        self.text += delta.content or ""
        for piece in delta.tool_calls or ():
            call = self.calls.setdefault(piece.index, {"id": "", "name": "", "arguments": ""})
            call["id"] = call["id"] or piece.id or ""
            if piece.function is not None:
                call["name"] += piece.function.name or ""
                call["arguments"] += piece.function.arguments or ""
        n_arguments = sum(len(call["arguments"]) for call in self.calls.values())
        if len(self.text) + n_arguments > _MAX_WRITTEN or len(self.calls) > _MAX_CALLS:
            raise NoAnswer("the language model does not stop writing")

    def tell_sentences(self, tell: Tell) -> None:
        """Tell the sentences that are complete."""
        ends = [found.end() for found in _SENTENCE_END.finditer(self.text, self.n_told)]
        if ends:
            tell.partial(self.text[self.n_told : ends[-1]])
            self.n_told = ends[-1]


class EndpointBackend:
    """Asks a language model, and calls the tools that it asks for."""

    def __init__(self, config: AgentConfig) -> None:
        self._config = config.endpoint
        self._client: Any = AsyncOpenAI(
            base_url=self._config.url,
            api_key=os.environ.get(self._config.key_env) or "none",
            max_retries=0,
            http_client=capped_http(timeout_s=config.timeout_s),
        )
        self._tools = (*built_in_tools(config), *reply_tools())
        self._servers = McpServers(config.mcp, timeout_s=config.timeout_s)
        self._model = self._config.model
        self._takes_tools = True

    async def answer(self, work: Work) -> Reply:
        taken = [tool.name for tool in self._tools]
        tools = {t.name: t for t in (*self._tools, *await self._servers.tools(taken))}
        messages = messages_of(work.package, with_picture=self._config.pictures)
        for number in range(self._config.max_rounds):
            written = await self._ask(messages, tools, work.tell, is_first=number == 0)
            if not written.calls:
                return Reply(text=written.text[written.n_told :])
            messages.append(_as_message(written))
            calls = written.calls.values()
            answers = await asyncio.gather(*(self._call(call, tools, work) for call in calls))
            for call, answer in zip(calls, answers, strict=True):
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": answer})
        raise NoAnswer(f"the language model found no answer in {self._config.max_rounds} rounds")

    async def close(self) -> None:
        await self._servers.close()
        await self._client.close()

    async def _ask(
        self, messages: Sequence[Json], tools: Mapping[str, Tool], tell: Tell, *, is_first: bool
    ) -> _Written:
        """Let the model write once; raises NoAnswer with what is wrong with the endpoint."""
        try:
            return await self._stream(messages, tools, tell, is_first=is_first)
        except BadRequestError as error:
            if not (is_first and self._takes_tools):
                raise NoAnswer(f"the endpoint refused: {clean(str(error), 200)}") from error
        except APIStatusError as error:
            raise NoAnswer(
                f"the endpoint answered {error.status_code}: {clean(error.message, 200)}"
            ) from error
        except APIConnectionError as error:
            reason = clean(str(error.__cause__ or error), 200)
            raise NoAnswer(f"{self._config.url} cannot be reached: {reason}") from error
        except (httpx2.HTTPError, httpx2.StreamError) as error:
            raise NoAnswer(f"the endpoint broke off: {clean(str(error), 200)}") from error
        except (OpenAIError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise NoAnswer(f"the endpoint sent nonsense: {clean(str(error), 200)}") from error
        self._takes_tools = False  # perhaps it has no template for them
        return await self._ask(messages, tools, tell, is_first=is_first)

    async def _stream(
        self, messages: Sequence[Json], tools: Mapping[str, Tool], tell: Tell, *, is_first: bool
    ) -> _Written:
        if not self._model:
            listed = await self._client.models.list()
            self._model = listed.data[0].id
        offered: Json = {}
        if self._takes_tools:
            offered = {"tools": [_as_function(tool) for tool in tools.values()]}
        stream = await self._client.chat.completions.create(
            model=self._model,
            messages=list(messages),
            max_tokens=self._config.max_tokens,
            stream=True,
            **offered,
        )
        # What comes before the first call of a tool is small talk, no part of a result.
        tells = not (is_first and self._takes_tools)
        written = _Written()
        async with stream:
            async for chunk in stream:
                if chunk.choices:
                    written.add(chunk.choices[0].delta)
                    if tells and not written.calls:
                        written.tell_sentences(tell)
        return written

    async def _call(self, call: Json, tools: Mapping[str, Tool], work: Work) -> str:
        """Call a tool; what goes wrong with it is an answer for the model."""
        tool = tools.get(call["name"])
        try:
            arguments = json.loads(call["arguments"] or "{}")
        except (ValueError, RecursionError):
            return "error: the arguments are no JSON"
        if tool is None or not isinstance(arguments, dict):
            return f"error: there is no tool {clean(call['name'], 60)!r} with such arguments"
        if tool.name == NO_ANSWER:
            raise NoAnswer(clean(arguments.get("reason") or "the agent does not know", 200))
        work.tell.progress(clean(f"{tool.name}: {' '.join(map(str, arguments.values()))}", 200))
        try:
            answer = await tool.call(arguments, work)
        except NoAnswer as error:
            return f"error: {error}"
        for card in answer.cards:
            work.tell.show(card)
        return answer.text[:_MAX_TOOL_ANSWER]


def _as_message(written: _Written) -> Json:
    return {
        "role": "assistant",
        "content": written.text or None,
        "tool_calls": [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["name"], "arguments": call["arguments"]},
            }
            for call in written.calls.values()
        ],
    }


def _as_function(tool: Tool) -> Json:
    function = {"name": tool.name, "description": tool.meaning, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def make_endpoint(config: AgentConfig) -> EndpointBackend:
    """Make the back end of `agent.backend=openai`."""
    return EndpointBackend(config)
