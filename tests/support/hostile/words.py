"""Texts from outside that try to be control tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hypothesis import strategies as st

from microturn.inference.micro_turn import MicroTurnIn, MicroTurnOut
from microturn.inference.rows import RowBatch
from microturn.inference.tick import OpenedRow
from microturn.model.checkpoint import LoadedCheckpoint
from microturn.model.streams import CONTROL_TOKENS, IDLE, UNK, Lanes

WORDS = ("eight", "plus", "three", *(token.strip("</>") for token in CONTROL_TOKENS))
TRIES = (
    *(*CONTROL_TOKENS, *map(str.upper, CONTROL_TOKENS)),
    *(
        "\uff1cbg\uff1e",
        "<\u00adbg>",
        "<bg",
        "bg>",
        "<<bg>>",
        "\u2581<bg>",
        "\u2581",
        "[bg]",
        "\\<bg>",
    ),
)
_SPELT = st.one_of(
    st.sampled_from(TRIES), st.sampled_from(WORDS), st.text("abegs<>/&; \n\t\u200b", max_size=6)
)


def _joined(pieces: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    gaps = st.sampled_from(["", " ", "\n", "\u2028", "\u200b"])
    return st.builds(lambda gap, texts: gap.join(texts), gaps, st.lists(pieces, max_size=6))


SPELT = _joined(_SPELT)  # texts of letters that tokenizers of WORDS and the alphabet have
TEXTS = SPELT | _joined(_SPELT | st.text(max_size=6))


def control_ids(ids: Iterable[int]) -> list[int]:
    """The ids that only the program may write."""
    return [i for i in ids if i < len(CONTROL_TOKENS) and i not in (IDLE, UNK)]


class WatchedBatch(RowBatch):
    """A real batch that keeps what it was given on `text_in`, and before conversations."""

    def __init__(self, checkpoint: LoadedCheckpoint, n_rows: int = 1) -> None:
        super().__init__(checkpoint, n_rows)
        self.text: list[int] = []
        self.opened: list[Lanes] = []

    def step_rows(self, inputs: Mapping[int, MicroTurnIn]) -> dict[int, MicroTurnOut]:
        self.text += [i for micro_turn in inputs.values() for i in micro_turn.text_in]
        return super().step_rows(inputs)

    def read(self, lanes: Lanes) -> OpenedRow:
        self.opened.append(lanes)
        return super().read(lanes)
