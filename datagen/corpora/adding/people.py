"""Splits of conversations: people who talk with each other are on one side, all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from microturn.datagen.corpora.splits import share_of

MAX_HELD_OUT: Final = 0.5  # share of all people that one circle may have and be held out


@dataclass(kw_only=True)
class Circles:
    """Groups of people who share conversations, directly or through others (union-find)."""

    _parents: dict[str, str] = field(default_factory=dict)
    _stated: dict[str, set[str]] = field(default_factory=dict)  # splits, by person

    def add(self, speakers: Sequence[str], split: str) -> None:
        """Join the people of a conversation whose split the corpus states, or does not ("")."""
        named = [speaker for speaker in speakers if speaker]
        for speaker in named:
            self._parents.setdefault(speaker, speaker)
            self._stated.setdefault(speaker, set()).add(split)
        for speaker in named[1:]:
            first, other = self._root(named[0]), self._root(speaker)
            if first != other:
                self._parents[max(first, other)] = min(first, other)

    def _root(self, speaker: str) -> str:
        root = speaker
        while self._parents[root] != root:
            root = self._parents[root]
        while self._parents[speaker] != root:
            self._parents[speaker], speaker = root, self._parents[speaker]
        return root

    def splits(self, *, test_share: float) -> Splits:
        """Assign every circle to a side.

        What the corpus states holds. Other circles are held out when the hash of their first name
        is below `test_share`, at least one of several; never one with most of all people, which
        would leave nobody to learn from.
        """
        sizes = Counter(self._root(speaker) for speaker in self._parents)
        stated: dict[str, set[str]] = {root: set() for root in sizes}
        for speaker, splits in self._stated.items():
            stated[self._root(speaker)] |= splits
        n_people = len(self._parents)
        small = [root for root, n in sizes.items() if n <= MAX_HELD_OUT * n_people]
        free = sorted(root for root in small if not stated[root] - {""})
        held_out = {root for root in free if share_of(root) < test_share}
        if not held_out and test_share > 0 and len(sizes) > 1 and free:
            nobody = all(not some - {""} for some in stated.values())
            held_out = {min(free, key=share_of)} if nobody else set()
        return Splits(
            roots={speaker: self._root(speaker) for speaker in self._parents},
            stated={root: some - {""} for root, some in stated.items()},
            held_out=frozenset(held_out),
        )


@dataclass(frozen=True, kw_only=True)
class Splits:
    """The side of every person."""

    roots: dict[str, str]
    stated: dict[str, set[str]]
    held_out: frozenset[str]

    def of(self, speakers: Sequence[str], split: str) -> tuple[str, str]:
        """Return the side of a conversation, and why it cannot be used ("": it can)."""
        named = [speaker for speaker in speakers if speaker]
        if not named:  # held out means people
            return split or "train", ""
        root = self.roots[named[0]]
        sides = self.stated[root]
        if {"train", "test"} <= sides:
            problem = (
                f"{' and '.join(named)} talk with people whom the corpus' own split holds out"
                if split != "test"
                else ""
            )
            return "test", problem
        if split:
            return split, ""
        if sides:
            return min(sides), ""
        return ("test" if root in self.held_out else "train"), ""
