"""Families of situations; importing this package registers the ones that ship."""

from microturn.datagen.scenarios import (  # noqa: F401  (imported to register)
    background,
    delegation,
    interruption,
    timed_cue,
    turn,
    user_backchannel,
)
from microturn.datagen.scenarios.base import (
    REGISTRY,
    Cast,
    Clip,
    DoesNotFit,
    Scenario,
    Script,
    Stage,
    register,
)
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
    "Stage",
    "register",
]
