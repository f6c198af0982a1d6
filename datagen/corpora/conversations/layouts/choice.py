"""The choice among the layouts of conversations, for a folder and `format=`."""

from __future__ import annotations

from pathlib import Path

from microturn.datagen.corpora.adapters import FORMATS
from microturn.datagen.corpora.conversations.described import ConversationFormat
from microturn.datagen.corpora.conversations.layouts import LAYOUTS


def layout_of(source: Path, name: str, *, asked: bool) -> ConversationFormat | None:
    """Return the layout of the conversations of a folder; None if it holds recordings.

    A layout whose name is also one of recordings is taken only where conversations are asked for.
    Raises ValueError for a folder that fits two. What is named is not questioned.
    """
    shared = {form.name for form in FORMATS}
    if name != "auto":
        layout = next((one for one in LAYOUTS if one.name == name), None)
        if layout is None or (name in shared and not asked):
            if asked:
                raise ValueError(f"format={name} has no conversations; these have: {_signs()}")
            return None
        return layout
    found = [one for one in LAYOUTS if (asked or one.name not in shared) and one.matches(source)]
    if len(found) > 1:
        names = " and ".join(one.name for one in found)
        raise ValueError(f"{source} may be {names}; give format={found[0].name} or the other")
    if asked and not found:
        raise ValueError(f"{source} has none of the layouts of conversations ({_signs()})")
    return found[0] if found else None


def _signs() -> str:
    return "; ".join(f"{layout.name}: {layout.sign}" for layout in LAYOUTS)
