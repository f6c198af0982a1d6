"""Cards: what a background agent shows beside the conversation, as plain data.

A card is a text, a list or a table. Its strings come from outside, so they are cut to size and
rid of control characters here, and clients show them as text and nothing else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from microturn.configs.reading import lines_of

MAX_CARDS: Final = 8  # of one delegation
MAX_TITLE: Final = 80
MAX_TEXT: Final = 2_000
MAX_ITEMS: Final = 50
MAX_ITEM: Final = 200
MAX_COLUMNS: Final = 8
MAX_CELL: Final = 100
_CUT: Final = "…"


def clean(text: object, most: int, *, lines: bool = False) -> str:
    """Return a text of at most `most` characters without control characters.

    White space is single spaces; with `lines` breaks between lines stay.
    """
    head = str(text)[: 4 * most]  # no more than this is looked at, however long it is
    if lines:
        rows = (clean(row, most) for row in lines_of(head))
        return _cut("\n".join(rows).strip(), most)
    spaced = " ".join(head.split())
    return _cut("".join(sign for sign in spaced if not _is_control(sign)), most)


def _is_control(sign: str) -> bool:
    """Tell characters that change how others are shown: controls, directions, surrogates."""
    return unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Co", "Cn")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1].rstrip() + _CUT


@dataclass(frozen=True, kw_only=True)
class TextCard:
    """A card of running text."""

    text: str
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class ListCard:
    """A card of items in order."""

    items: tuple[str, ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class TableCard:
    """A card of rows as wide as the row of column names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""


Card = TextCard | ListCard | TableCard


def card_to_json(card: Card) -> dict[str, Any]:
    """Write a card as JSON, sanitised and cut to size."""
    title = clean(card.title, MAX_TITLE)
    match card:
        case TextCard(text=text):
            return {"kind": "text", "title": title, "text": clean(text, MAX_TEXT, lines=True)}
        case ListCard(items=items):
            shown = [clean(item, MAX_ITEM) for item in items[:MAX_ITEMS]]
            return {"kind": "list", "title": title, "items": shown}
        case TableCard(columns=columns, rows=rows):
            n = min(len(columns), MAX_COLUMNS)
            return {
                "kind": "table",
                "title": title,
                "columns": [clean(name, MAX_CELL) for name in columns[:n]],
                "rows": [_row(row, n) for row in rows[:MAX_ITEMS]],
            }


def _row(cells: Sequence[str], n: int) -> list[str]:
    padded = [*cells[:n], *[""] * (n - len(cells))]
    return [clean(cell, MAX_CELL) for cell in padded]


def card_from_json(values: Mapping[str, Any]) -> Card:
    """Read a card from outside; raises ValueError that names what is wrong with it."""
    title = str(values.get("title") or "")
    match values.get("kind"):
        case "text" if isinstance(text := values.get("text"), str):
            return TextCard(title=title, text=text)
        case "list" if isinstance(items := values.get("items"), list):
            return ListCard(title=title, items=tuple(map(str, items[:MAX_ITEMS])))
        case "table" if isinstance(columns := values.get("columns"), list) and isinstance(
            rows := values.get("rows"), list
        ):
            if not all(isinstance(row, list) for row in rows):
                raise ValueError("a card of kind 'table' needs rows that are lists")
            return TableCard(
                title=title,
                columns=tuple(map(str, columns[:MAX_COLUMNS])),
                rows=tuple(tuple(map(str, row[:MAX_COLUMNS])) for row in rows[:MAX_ITEMS]),
            )
    raise ValueError(
        "a card is {kind: text, text}, {kind: list, items} or {kind: table, columns, rows}, "
        f"not kind {str(values.get('kind'))[:40]!r} with {sorted(map(str, values))[:6]}"
    )
