"""Families of situations; importing this package registers the ones that ship."""

# Imported to register.
from microturn.datagen.dialogue.script import Clip, DoesNotFit, Script, Span
from microturn.datagen.labels.event_types import EventType, register_event_type
from microturn.datagen.scenarios.background import (  # noqa: F401
    background,
    music,
    side_talk,
    silence,
    vocal_tic,
)
from microturn.datagen.scenarios.base import (
    REGISTRY,
    DialogueContext,
    Scenario,
    SegmentBuilder,
    Words,
    is_open,
    register,
)
from microturn.datagen.scenarios.cues import (  # noqa: F401
    interjection,
    repeated_cue,
    spoken_cue,
    timed_cue,
    translation,
    visual,
)
from microturn.datagen.scenarios.open import (  # noqa: F401
    listening,
    narration,
    read_aloud,
    recorded,
    repeat_after,
    scripted,
)
from microturn.datagen.scenarios.plugins import require_words, scenarios_of, words_of
from microturn.datagen.scenarios.requests import (  # noqa: F401
    count,
    delegation,
    errand,
    forbidden,
    long_memory,
    recall,
)
from microturn.datagen.scenarios.turns import (  # noqa: F401
    agent_backchannel,
    conversation,
    interruption,
    one_word,
    overlap,
    self_correction,
    turn,
    user_backchannel,
)
from microturn.datagen.scenarios.vocabulary import Question, Questions

__all__ = [
    "REGISTRY",
    "DialogueContext",
    "Clip",
    "DoesNotFit",
    "EventType",
    "Question",
    "Questions",
    "Scenario",
    "Script",
    "Span",
    "SegmentBuilder",
    "Words",
    "is_open",
    "register",
    "register_event_type",
    "require_words",
    "scenarios_of",
    "words_of",
]
