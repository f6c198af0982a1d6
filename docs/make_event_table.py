"""Writes the table of event types into docs/events.md.

python docs/make_event_table.py
"""

from __future__ import annotations

from pathlib import Path

from microturn.datagen.labels.event_types import SHIPPED, EventType

PAGE = Path(__file__).parent / "events.md"
BEGIN, END = "<!-- event types begin -->", "<!-- event types end -->"


def table() -> str:
    """The types that ship, one a row, in the order of the code."""
    rows = ["| type | what happens | may expect | suite |", "|---|---|---|---|"]
    return "\n".join([*rows, *(_row(kind) for kind in SHIPPED)])


def updated(page: str) -> str:
    """Return the page with the table between its markers."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def _row(kind: EventType) -> str:
    acts = ", ".join(f"`{act}`" for act in kind.acts)
    return f"| `{kind.name}` | {kind.meaning} | {acts} | `{kind.suite}` |"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
