"""What a conversation was like at its last boundaries between micro-turns, to go back to."""

from __future__ import annotations

from collections import deque

from microturn.inference.conversation import Conversation


class Moments:
    """Copies of one conversation at its last `most` boundaries; its row keeps as many."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._copies: deque[Conversation] = deque(maxlen=most)

    @property
    def oldest(self) -> int | None:
        """The micro-turn that came after the oldest copy, or None where there is none."""
        return self._copies[0].micro_turn if self._copies else None

    def keep(self, conversation: Conversation) -> None:
        """Keep a conversation as it is now."""
        if self.most:
            self._copies.append(conversation.copy())

    def go_back(self, to: int) -> Conversation:
        """Return the conversation before micro-turn `to`, and forget it and all later ones."""
        while (kept := self._copies.pop()).micro_turn != to:
            pass
        return kept
