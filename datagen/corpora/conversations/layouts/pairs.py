"""Pairs of people of one recording: each is a conversation, the others are its third voices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

from microturn.datagen.corpora.conversations.described import DescribedConversation, DescribedSide


def pairs(
    conversation: DescribedConversation, people: Sequence[DescribedSide]
) -> Iterator[DescribedConversation]:
    """Yield the conversation for each pair of two people or more, with ids that name the pair."""
    if len(people) == 2:
        yield replace(conversation, sides=tuple(people))
        return
    for one, other in combinations(people, 2):
        yield replace(
            conversation,
            id=f"{conversation.id}-{one.speaker}-{other.speaker}",
            sides=(one, other),
            others=tuple(side for side in people if side not in (one, other)),
        )
