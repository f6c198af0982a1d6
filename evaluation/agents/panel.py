"""The adversarial panel: agents that must not score, whatever the suite.

Some understand nothing, some know everything and have one fault. A suite whose headline one of them
nears measures something else than it says. `Suite.floor` is the line below which all of them stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from microturn.evaluation.agents import panel_faults as faults
from microturn.evaluation.agents import panel_trivial as trivial
from microturn.evaluation.agents.panel_speech import Habits
from microturn.evaluation.scoring.agent_output import AgentOutput
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue, Samples

Member = Callable[[HeldOutDialogue, Habits], AgentOutput]

TRIVIAL: Final[dict[str, Member]] = {
    "one_for_ever": trivial.one_for_ever,
    "two_constants": trivial.two_constants,
    "one_phrase": trivial.one_phrase,
    "one_phrase_waiting": trivial.one_phrase_waiting,
    "all_words": trivial.all_words,
    "random_words": trivial.random_words,
    "clicks": trivial.clicks,
    "murmur": trivial.murmur,
    "deaf": trivial.deaf,
    "another_answer": trivial.another_answer,
    "last_answer": trivial.last_answer,
    "parrot": trivial.parrot,
    "shadow": trivial.shadow,
    "nods": trivial.nods,
}
# Right in everything but their fault.
FAULTY: Final[dict[str, Member]] = {
    "chatterer": faults.chatterer,
    "delegator": faults.delegator,
    "babbler": faults.babbler,
    "late": faults.late,
    "stutterer": faults.stutterer,
    "hisser": faults.hisser,
    "mute": faults.mute,
    "never_stops": faults.never_stops,
    "stops_at_any_sound": faults.stops_at_any_sound,
    "constant_delay": faults.constant_delay,
}
PANEL: Final[dict[str, Member]] = {**TRIVIAL, **FAULTY}
# Faults that only these suites ask about; every other fault is the business of all.
CONCERN: Final[dict[str, tuple[str, ...]]] = {
    "never_stops": ("fdb_v1_5", "interruption", "user_backchannel", "open_turns"),
    "stops_at_any_sound": ("fdb_v1_5", "interruption", "user_backchannel", "open_turns"),
    "constant_delay": ("time_speak", "timed_cue", "proactive_video_qa", "charades", "open_turns"),
}
# Suites that ask what an agent hears, and nothing of what it says.
ABOUT_HEARING: Final = ("open_transcript",)


def of_concern(name: str, suite: str) -> bool:
    """Whether a suite must catch a member of the panel."""
    if suite in ABOUT_HEARING:
        return name in TRIVIAL
    return name not in CONCERN or suite in CONCERN[name]


@dataclass(frozen=True)
class PanelMember:
    """One of the panel, with the habits of a set."""

    name: str
    habits: Habits

    def perform(self, dialogues: Sequence[HeldOutDialogue]) -> Iterator[AgentOutput]:
        for held_out in dialogues:
            yield PANEL[self.name](held_out, self.habits.without(held_out.key))


def panel_of(names: Sequence[str], dialogues: Samples) -> dict[str, PanelMember]:
    """The members of these names, with the voice and the habits of a set."""
    habits = Habits.of(dialogues)
    return {name: PanelMember(name, habits) for name in names}
