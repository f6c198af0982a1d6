"""tau-voice's eight measures of interaction; scoring/interaction.py has their definitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from microturn.evaluation.scoring.interaction import interaction_of
from microturn.evaluation.scoring.scene import ScoredDialogue
from microturn.evaluation.suites.credit import told_apart
from microturn.evaluation.suites.statistics import Estimate, mean, ratio, share
from microturn.evaluation.suites.suite import CREDIT, Measured, Observations, Suite

_ACTS: Final = ("response", "yields")  # the agent has to do something
_IGNORES: Final = ("backchannel", "vocal_tic", "non_directed")  # and here nothing

Row = Mapping[str, Any]


def observe(scored: ScoredDialogue) -> Observations:
    """What became of everything that the measures count, in one dialogue."""
    return asdict(interaction_of(scored))


def measure(dialogues: Sequence[Observations]) -> Measured:
    """The eight measures, and how well an agent tells apart what asks for something."""

    def rows(*kinds: str) -> list[Row]:
        return [row for one in dialogues for kind in kinds for row in one[kind]]

    def rate(kind: str) -> Estimate | None:
        return share([row["good"] for row in rows(kind)])

    def latency(kind: str) -> Estimate | None:
        return mean([row["latency_s"] for row in rows(kind) if row["latency_s"] is not None])

    def credited(*kinds: str) -> Estimate | None:
        return share([row["good"] and row["counts"] for row in rows(*kinds)])

    n_turns = len(rows("response"))
    n_interrupts = sum(one["n_agent_interrupts"] for one in dialogues)
    interrupts = ratio(n_interrupts, n_turns)
    return {
        CREDIT: told_apart(credited(*_ACTS), credited(*_IGNORES)),
        "response_rate": rate("response"),
        "response_latency_s": latency("response"),
        "yield_rate": rate("yields"),
        "yield_latency_s": latency("yields"),
        "agent_interrupts_per_turn": interrupts,
        "selectivity_backchannel": rate("backchannel"),
        "selectivity_vocal_tic": rate("vocal_tic"),
        "selectivity_non_directed": rate("non_directed"),
    }


SUITE: Final = Suite(
    name="tau_voice",
    asks="the agent answers and yields, and lets backchannels, tics and asides pass",
    title_note=(
        "The definitions are those of tau-voice, whose dialogues are telephone calls with a "
        "language model in the user's part: compare with its numbers in kind, not in size. The "
        "vocal tics are four recordings of two people in no training set."
    ),
    observe=observe,
    measure=measure,
    n_dialogues=48,
    meanings={
        CREDIT: "answered or yielded + ignored - 1, with the right words and nothing unasked: who "
        "always does one "
        "gets 0",
        "response_rate": "turns answered before the user speaks again",
        "response_latency_s": "mean from the turn's end to the response, in whole ticks of 0.2 s",
        "yield_rate": "silent within 2 s of being interrupted",
        "yield_latency_s": "mean from the onset of what interrupts to silence, in whole ticks",
        "agent_interrupts_per_turn": "utterances begun while the user speaks to it, per turn "
        "(lower is better)",
        "selectivity_backchannel": "talked on for 1 s through a backchannel",
        "selectivity_vocal_tic": "talked on through a cough or `um`, or stayed silent for 2 s",
        "selectivity_non_directed": "the same for what the user says to somebody else",
    },
)
