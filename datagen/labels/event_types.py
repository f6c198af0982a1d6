"""The types of events: what each means, what it may expect of the agent, and where it is scored.

Labels, pictures, statistics and scores look types up here and nowhere else. A scenario of another
package registers the types that it adds with `register_event_type`; its dialogues carry them in
their labels, so that a set can be read where that package is not installed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from microturn.configs.load import suggestion

ACTS: Final = (
    "respond",
    "resume",
    "stop",
    "stay_silent",
    "say",
    "backchannel",
    "delegate",
    "refuse",
)

# Acts that the metrics of a suite can judge; a suite that is not listed has one metric for all.
SUITE_ACTS: Final[dict[str, tuple[str, ...]]] = {
    "turn": ("respond", "stay_silent"),
    "interruption": ("stop",),
    "user_backchannel": ("resume",),
    "background": ("stay_silent", "resume"),
    "timed_cue": ("say", "stay_silent"),
    "delegation": ("delegate", "say"),
    "over_user": ("say", "stay_silent"),
    "agent_backchannel": ("backchannel",),
    "recall": ("respond", "say"),
    "refusals": ("respond", "refuse"),
    "visual": ("say", "stay_silent"),
}


@dataclass(frozen=True, kw_only=True)
class EventType:
    """A type of events. `takes_turn=False`: its words are a backchannel and take no turn."""

    name: str
    suite: str  # of evaluation
    acts: tuple[str, ...]  # that an event of this type may expect of the agent
    colour: str  # in pictures and pages
    meaning: str  # what happens, as a sentence without a full stop
    takes_turn: bool = True

    def __post_init__(self) -> None:
        for act in self.acts:
            if act not in ACTS:
                raise ValueError(
                    f"event type {self.name!r}: act {act!r} is not one of {', '.join(ACTS)}"
                )
            judged = SUITE_ACTS.get(self.suite, ACTS)
            if act not in judged:
                raise ValueError(
                    f"event type {self.name!r}: suite {self.suite!r} cannot judge {act!r}, only "
                    f"{', '.join(judged)}; use another suite or one of its own"
                )


TURN: Final = "turn"
PAUSE: Final = "pause"
SELF_CORRECTION: Final = "self_correction"
INTERRUPTION: Final = "interruption"
USER_BACKCHANNEL: Final = "user_backchannel"
AGENT_BACKCHANNEL: Final = "agent_backchannel"
OVERLAP: Final = "overlap"
VOCAL_TIC: Final = "vocal_tic"
SIDE_TALK: Final = "side_talk"
BACKGROUND_SPEECH: Final = "background_speech"
NOISE: Final = "noise"
MUSIC: Final = "music"
ECHO: Final = "echo"
PACKET_LOSS: Final = "packet_loss"
SILENCE: Final = "silence"
TIMED_CUE: Final = "timed_cue"
SPOKEN_CUE: Final = "spoken_cue"
INTERJECTION: Final = "interjection"
TRANSLATION: Final = "translation"
DELEGATION: Final = "delegation"
RESULT: Final = "result"
RECALL: Final = "recall"
FORBIDDEN: Final = "forbidden"
VISUAL_COUNT: Final = "visual_count"
VISUAL_SPAN: Final = "visual_span"
VISUAL_QUESTION: Final = "visual_question"


def _type(name: str, suite: str, colour: str, acts: tuple[str, ...], meaning: str) -> EventType:
    takes_turn = name not in (USER_BACKCHANNEL, AGENT_BACKCHANNEL, VOCAL_TIC)
    return EventType(
        name=name, suite=suite, acts=acts, colour=colour, meaning=meaning, takes_turn=takes_turn
    )


_QUIET: Final = ("stay_silent", "resume")
_DUE: Final = ("say", "stay_silent")
SHIPPED: Final = (
    _type(TURN, "turn", "#4878d0", ("respond",), "the user asks or tells something and yields"),
    _type(PAUSE, "turn", "#797979", ("stay_silent",), "the user hesitates inside a turn"),
    _type(
        *(SELF_CORRECTION, "turn", "#c45ab3", ("respond",)),
        "the user takes a word back; the answer is to what was meant",
    ),
    _type(
        *(INTERRUPTION, "interruption", "#d65f5f", ("stop",)),
        "the user takes the floor while the agent speaks",
    ),
    _type(
        *(USER_BACKCHANNEL, "user_backchannel", "#6acc64", ("resume",)),
        "the user says `uh huh` or the like while the agent speaks",
    ),
    _type(
        *(AGENT_BACKCHANNEL, "agent_backchannel", "#2a9d7c", ("backchannel",)),
        "the agent shows that it listens and does not take the floor",
    ),
    _type(
        *(OVERLAP, "user_backchannel", "#3f8f5b", ("resume",)),
        "the user talks into the agent's words and does not get the floor",
    ),
    _type(
        *(VOCAL_TIC, "background", "#8a6fc2", _QUIET),
        "somebody coughs, laughs, sighs or the like, or says `um` and no more",
    ),
    _type(SIDE_TALK, "background", "#7a5aa0", _QUIET, "the user talks to another person"),
    _type(
        *(BACKGROUND_SPEECH, "background", "#956cb4", _QUIET),
        "another voice is heard, a person or a television",
    ),
    _type(NOISE, "background", "#8c613c", _QUIET, "a noise is heard"),
    _type(MUSIC, "background", "#b07a3c", _QUIET, "music is heard"),
    _type(ECHO, "background", "#a0825f", _QUIET, "the agent's own voice comes back"),
    _type(PACKET_LOSS, "background", "#c7a27c", _QUIET, "packets of the microphone are lost"),
    _type(SILENCE, "background", "#b0b0b0", ("stay_silent",), "no voice is heard until the end"),
    _type(TIMED_CUE, "timed_cue", "#ee854a", _DUE, "words are due at a time, once or repeatedly"),
    _type(
        *(SPOKEN_CUE, "over_user", "#d9662a", ("say",)),
        "the user says the agreed word; the agent says its answer over the user",
    ),
    _type(
        *(INTERJECTION, "over_user", "#b3475f", _DUE),
        "the user recites, with a mistake that the agent corrects or without one",
    ),
    _type(TRANSLATION, "over_user", "#4f6bb0", ("say",), "the user says a word to be translated"),
    _type(
        *(DELEGATION, "delegation", "#d5bb67", ("delegate", "say")),
        "the user asks for something that the background agent does; a long wait asks for a filler",
    ),
    _type(RESULT, "delegation", "#82c6e2", ("say",), "the result of the background agent arrives"),
    _type(
        *(RECALL, "recall", "#5b8a3a", ("respond", "say")),
        "something said earlier is asked for, kept to or edited",
    ),
    _type(
        *(FORBIDDEN, "refusals", "#8b1e2d", ("refuse", "respond")),
        "the user makes a request that is refused, or a harmless one that resembles it",
    ),
    _type(VISUAL_COUNT, "visual", "#1f8a8a", _DUE, "a movement is repeated and counted aloud"),
    _type(VISUAL_SPAN, "visual", "#1f6f8a", _DUE, "an action begins and ends"),
    _type(VISUAL_QUESTION, "visual", "#1f558a", _DUE, "an answer becomes visible"),
)
EVENT_TYPES: Final[dict[str, EventType]] = {kind.name: kind for kind in SHIPPED}


def register_event_type(kind: EventType) -> EventType:
    """Add a type; the same one may be registered again, another under its name may not."""
    known = EVENT_TYPES.setdefault(kind.name, kind)
    if known != kind:
        raise ValueError(f"two event types are called {kind.name!r}: {known} and {kind}")
    return kind


def event_type(name: str) -> EventType:
    """Return the type of that name; raises ValueError with the nearest known one."""
    try:
        return EVENT_TYPES[name]
    except KeyError:
        known = tuple(EVENT_TYPES)
        raise ValueError(
            f"there is no event type {name!r}{suggestion(name, known)} (known: "
            f"{', '.join(known)}); a scenario adds one with register_event_type"
        ) from None


def check_event(name: str, act: str | None) -> None:
    """Raise ValueError unless the type exists and may expect the act (None: nothing)."""
    kind = event_type(name)
    if act is not None and act not in kind.acts:
        raise ValueError(
            f"an event of type {name!r} cannot expect {act!r}, only {', '.join(kind.acts)}"
        )


def check_confidence(confidence: float) -> None:
    """Raise ValueError unless the confidence of an event is above 0 and at most 1."""
    if not 0 < confidence <= 1:
        raise ValueError(f"confidence={confidence} of an event must be above 0 and at most 1")


def plugin_types(names: set[str]) -> tuple[EventType, ...]:
    """Of these types, those that did not ship, in alphabetical order."""
    shipped = {kind.name for kind in SHIPPED}
    return tuple(event_type(name) for name in sorted(names - shipped))
