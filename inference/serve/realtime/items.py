"""The items of a conversation as its client sees them, and what of the agent's was played."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from microturn.inference.serve.codec import Json

_MAX_ITEMS: Final = 512  # of a conversation are kept, the newest


@dataclass(kw_only=True)
class SpokenItem:
    """What the agent said in one response: its words, and the micro-turns whose sound was sent."""

    id: str
    words: list[tuple[int, str]] = field(default_factory=list)  # with the micro-turn of their onset
    micro_turns: list[int] = field(default_factory=list)
    played_to: int | None = None  # micro-turn from which on nothing was played, None: all was

    def transcript(self) -> str:
        """Return the words that began to be played."""
        end = self.played_to
        return " ".join(text for at, text in self.words if end is None or at < end)

    def truncate(self, n_pieces: int) -> list[int]:
        """Note that only the first pieces were played; returns the micro-turns that were not."""
        unplayed = self.micro_turns[n_pieces:]
        if unplayed:
            self.played_to = unplayed[0]
        return unplayed

    def to_json(self, status: str) -> Json:
        part: Json = {"type": "output_audio", "transcript": self.transcript()}
        content = [] if status == "in_progress" else [part]
        return message(self.id, "assistant", content, status=status)


class Items:
    """The newest items by id, in order."""

    def __init__(self) -> None:
        self._items: dict[str, Json] = {}
        self._spoken: dict[str, SpokenItem] = {}
        self._n = 0

    def new_id(self) -> str:
        self._n += 1
        return f"item_{self._n}"

    def add(self, item: Json) -> str | None:
        """Keep an item; returns the id of the one before it."""
        before = next(reversed(self._items), None)
        self._items[item["id"]] = item
        if len(self._items) > _MAX_ITEMS:
            oldest = next(iter(self._items))
            del self._items[oldest]
            self._spoken.pop(oldest, None)
        return before

    def change(self, item: Json) -> None:
        if item["id"] in self._items:
            self._items[item["id"]] = item

    def add_spoken(self, item: SpokenItem) -> str | None:
        self._spoken[item.id] = item
        return self.add(item.to_json("in_progress"))

    def remove_spoken(self, item_id: str) -> SpokenItem | None:
        """Drop an item of the agent, and return it if there was one."""
        spoken = self._spoken.pop(item_id, None)
        if spoken is not None:
            self._items.pop(item_id, None)
        return spoken

    def get(self, item_id: str) -> Json | None:
        return self._items.get(item_id)

    def spoken(self, item_id: str) -> SpokenItem | None:
        return self._spoken.get(item_id)


def message(item_id: str, role: str, content: Sequence[Json], *, status: str = "completed") -> Json:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "message",
        "status": status,
        "role": role,
        "content": list(content),
    }


def function_call(item_id: str, call_id: str, name: str, arguments: str, *, status: str) -> Json:
    return {
        "id": item_id,
        "object": "realtime.item",
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }
