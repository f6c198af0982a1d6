"""The plug of the background agent: a back end answers delegations, each by one coroutine.

A back end runs in a process of its own (worker.py), so nothing that it does takes time from the
engine; it may hang, fail or flood there, and the conversation goes on. `agent.backend=module:name`
names a function that takes an `AgentConfig` and returns a back end.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from microturn.inference.agent.cards import Card
from microturn.inference.agent.package import ContextPackage
from microturn.inference.config import BACKENDS, AgentConfig


class NoAnswer(ValueError):
    """A request without an answer; the sentence says why."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The end of the work: words to be said, and what is to be shown beside them."""

    text: str  # after partial results: what is still missing, perhaps nothing
    cards: tuple[Card, ...] = ()


class Tell(Protocol):
    """Reports on the work while it goes on; all return at once."""

    def progress(self, text: str) -> None:
        """How far the work is, such as "40 of 80 files": shown, and known to other work."""

    def partial(self, text: str) -> None:
        """A first part of the result, to be said already."""

    def show(self, card: Card) -> None:
        """A card, before the end of the work."""

    def supersede(self, delegation_id: str) -> None:
        """End an earlier delegation of the same conversation: this one takes its place."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One delegation as a back end sees it."""

    package: ContextPackage
    tell: Tell


class Backend(Protocol):
    """What answers delegations; many at once, all on one event loop."""

    async def answer(self, work: Work) -> Reply:
        """Reply a delegation; raises NoAnswer with one sentence. Cancelled when not wanted."""

    async def close(self) -> None:
        """Let go of servers and files."""


def make_backend(config: AgentConfig) -> Backend:
    """Make the back end that the configuration names; raises ValueError where there is none."""
    target = BACKENDS.get(config.backend, config.backend)
    module, _, name = target.partition(":")
    try:
        make: Callable[[AgentConfig], Backend] = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"agent.backend={config.backend} cannot be imported: {error}") from error
    return make(config)
