"""What is put into dialogues of open speech, in a share of them (`scenarios.transplants`)."""

from __future__ import annotations

from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import Script
from microturn.datagen.scenario_config import SOUNDS
from microturn.datagen.scenarios.base import DialogueContext, SegmentBuilder
from microturn.datagen.scenarios.transplants.sounds import add_sound


def transplant(recipe: Recipe, context: DialogueContext, script: Script) -> None:
    """Put into a finished script what its dialogue draws; each kind has numbers of its own."""
    shares = context.config.scenarios.transplants
    for kind in SOUNDS:
        if share := shares.get(kind, 0.0):
            segment = SegmentBuilder(context, recipe.rng(f"transplant/{kind}"))
            if segment.chance(share):
                add_sound(segment, script, kind)
