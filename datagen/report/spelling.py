"""Words of a set that its tokenizer cannot spell: in the lanes `<unk>` is a letter of theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from microturn.model.streams import Tokenizer

SHOWN: Final = 3


def misspelt(words: Iterable[str], tokenizer: Tokenizer) -> list[str]:
    """Return a warning where some of the words have letters that the tokenizer lacks."""
    all_words = sorted(set(words))
    lost = tokenizer.unspellable(" ".join(all_words))
    if not lost:
        return []
    shown = ", ".join(lost[:SHOWN]) + (", ..." if len(lost) > SHOWN else "")
    return [
        f"{len(lost)} of {len(all_words)} words have letters that the tokenizer lacks ({shown}); "
        "they are <unk> in the lanes. Leave tokenizer.path empty, or add recordings with them"
    ]
