"""Who speaks in a dialogue of open speech."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Cast:
    """The agent of a dialogue and its user, as speakers of the corpus."""

    agent: str
    user: str
    variant: str = ""  # how the user's recordings are varied
