"""Tools with which a language model replies otherwise than in words; no rule finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from microturn.inference.agent.backend import NoAnswer, Reply, Work
from microturn.inference.agent.cards import card_from_json
from microturn.inference.agent.tools.tool import Arguments, ToolRequest, text_argument, text_schema

NO_ANSWER: Final = "no_answer"


class ShowCard:
    """Shows a card to the user."""

    name = "show_card"
    meaning = "Shows a card beside the conversation: a text, a list or a table of plain strings."
    parameters: Final[Mapping[str, Any]] = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["text", "list", "table"]},
            "title": {"type": "string"},
            "text": {"type": "string", "description": "of kind text"},
            "items": {"type": "array", "items": {"type": "string"}, "description": "of kind list"},
            "columns": {"type": "array", "items": {"type": "string"}},
            "rows": {
                "type": "array",
                "items": {"type": "array", "items": {"type": "string"}},
                "description": "of kind table",
            },
        },
        "required": ["kind"],
    }

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        return None

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        try:
            return Reply(text="shown", cards=(card_from_json(arguments),))
        except ValueError as error:
            raise NoAnswer(str(error)) from error


class Supersede:
    """Ends other work of the conversation."""

    name = "supersede"
    meaning = "Ends other work that goes on, because this request takes its place."
    parameters: Final = text_schema(id="the id of the other work")

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        return None

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        work.tell.supersede(text_argument(arguments, "id"))
        return Reply(text="ended")


class GiveUp:
    """Ends the work without an answer."""

    name = NO_ANSWER
    meaning = "Ends the work: the answer cannot be found out."
    parameters: Final = text_schema(reason="one sentence")

    def find(self, words: Sequence[str]) -> ToolRequest | None:
        return None

    async def call(self, arguments: Arguments, work: Work) -> Reply:
        raise NoAnswer(text_argument(arguments, "reason"))


def reply_tools() -> tuple[ShowCard, Supersede, GiveUp]:
    """Make the tools that only a language model calls."""
    return ShowCard(), Supersede(), GiveUp()
