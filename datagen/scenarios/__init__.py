"""Families of situations; importing this package registers the ones that ship."""

from microturn.datagen.scenarios import (  # noqa: F401  (imported to register)
    agent_backchannel,
    background,
    conversation,
    count,
    delegation,
    errand,
    forbidden,
    hush,
    interjection,
    interruption,
    long_memory,
    music,
    overlap,
    recall,
    repeated_cue,
    self_correction,
    side_talk,
    spoken_cue,
    timed_cue,
    translation,
    turn,
    user_backchannel,
    visual,
)
from microturn.datagen.scenarios.base import (
    REGISTRY,
    Cast,
    Clip,
    DoesNotFit,
    Scenario,
    Script,
    Span,
    Stage,
    Words,
    register,
)
from microturn.datagen.scenarios.plugins import scenarios_of, words_of
from microturn.datagen.scenarios.vocabulary import Question, Questions

__all__ = [
    "REGISTRY",
    "Cast",
    "Clip",
    "DoesNotFit",
    "Question",
    "Questions",
    "Scenario",
    "Script",
    "Span",
    "Stage",
    "Words",
    "register",
    "scenarios_of",
    "words_of",
]
