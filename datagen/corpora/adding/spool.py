"""Descriptions of conversations, kept on disk while a corpus is added.

A large corpus has more words than fit into memory. The file is written and read by one run.
"""

from __future__ import annotations

import pickle
from pathlib import Path

from microturn.datagen.corpora.conversations.described import DescribedConversation


class DescriptionSpool:
    """Writes descriptions one after another; each is read again by its position."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.starts: list[int] = []
        self._file = path.open("wb")

    def add(self, described: DescribedConversation) -> None:
        self.starts.append(self._file.tell())
        pickle.dump(described, self._file)

    def close(self) -> None:
        self._file.close()


def read_description(path: Path, start: int) -> DescribedConversation:
    """Read what a spool of this run has written at a position."""
    with path.open("rb") as file:
        file.seek(start)
        described: DescribedConversation = pickle.load(file)
    return described
