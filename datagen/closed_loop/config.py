"""Configuration of users who react, `timing.reactions`: what no plan of a dialogue says."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.configs.command import option


@dataclass(frozen=True, kw_only=True)
class ReactionConfig:
    """How users of the closed loop take what was not planned; docs/closed_loop.md.

    Seconds of two numbers are drawn evenly between them, shares by chance for each occasion.
    """

    patience_s: tuple[float, float] = option(
        (2.0, 4.0), "an answer that does not come is waited for so much longer than planned"
    )
    ask_again_share: float = option(
        0.6, "of users whose request is not answered: they repeat it, once"
    )
    yield_share: float = option(
        0.5, "of users into whose pause or words the agent speaks: they leave it the floor"
    )
    rest_share: float = option(
        0.5, "of those who have left it: they say the rest afterwards, the others all again"
    )
    reaction_s: tuple[float, float] = option(
        (0.2, 0.5),
        "after so long a user gives way to an agent that speaks into their words, at the end of a "
        "word; with timing.human.enabled its law of overlaps is drawn from",
    )
    barge_in_s: float = option(0.2, "so much sound of the agent in a pause is speech")
    free_s: float = option(0.6, "an agent that is silent for so long has left the floor again")
    ended_s: float = option(0.8, "a silence that ends an answer of which more was expected")
    overtime_s: float = option(
        3.0, "an agent that does not end is talked over, so long after twice its expected length"
    )
    go_on_s: float = option(
        1.5, "after something that did not come, the next thing follows within this"
    )
    delegate_s: float = option(
        4.0, "a request is not passed on to the background agent any more after this"
    )

    def __post_init__(self) -> None:
        for name in ("patience_s", "reaction_s"):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(
                    f"timing.reactions.{name}={[low, high]} must be two rising numbers of at least "
                    "0"
                )
        for name in ("ask_again_share", "yield_share", "rest_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"timing.reactions.{name}={getattr(self, name)} must be between 0 and 1"
                )
        for name in ("barge_in_s", "free_s", "ended_s", "overtime_s", "go_on_s", "delegate_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"timing.reactions.{name}={getattr(self, name)} must be positive")
