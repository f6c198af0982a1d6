"""What is put into dialogues of open speech, in a share of them (`scenarios.transplants`)."""

from __future__ import annotations

from collections.abc import Sequence

from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import Script
from microturn.datagen.scenario_config import REQUESTS, SOUNDS
from microturn.datagen.scenarios.base import REGISTRY, DialogueContext, SegmentBuilder, is_open
from microturn.datagen.scenarios.transplants.requests import add_request
from microturn.datagen.scenarios.transplants.sounds import add_sound
from microturn.datagen.scenarios.transplants.stretches import Samples


def transplant(
    recipe: Recipe, context: DialogueContext, script: Script, *, families: Sequence[str]
) -> None:
    """Put into a finished script what its dialogue draws; each kind has numbers of its own.

    Requests only where all segments are open speech: a closed one may wait in a silence.
    """
    shares = context.config.scenarios.transplants
    taken: list[Samples] = []
    if all(is_open(REGISTRY[name]) for name in families):
        for kind in (kind for kind in REQUESTS if shares.get(kind)):
            add_request(recipe, context, script, kind, taken)
    for kind in (kind for kind in SOUNDS if shares.get(kind)):
        segment = SegmentBuilder(context, recipe.rng(f"transplant/{kind}"))
        if segment.chance(shares[kind]):
            add_sound(segment, script, kind)
