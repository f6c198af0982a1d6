"""Writes the script of a recipe: its segments in sequence, and voices that overlay them."""

from __future__ import annotations

from dataclasses import replace

from microturn.datagen.dialogue.expectations import background_voice, silence_beside
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import OVERLAY
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.scenarios import (
    REGISTRY,
    DialogueContext,
    DoesNotFit,
    Script,
    SegmentBuilder,
)
from microturn.datagen.scenarios.background.background import voice_at
from microturn.datagen.scenarios.open.opening import draws_opening, instruct, open_with
from microturn.datagen.scenarios.transplants.transplants import transplant

MAX_MISSES = 3  # segments that do not fit before the dialogue ends


def write_script(recipe: Recipe, context: DialogueContext) -> tuple[Script, list[str]]:
    """Write the script of a dialogue; returns it with the families of its segments."""
    timing, rate = context.config.timing, context.rules.rate
    n_samples = context.config.n_samples
    script = context.script = Script(timeline=Timeline(n_samples=n_samples))
    gaps = recipe.rng("gaps")
    at = round(float(gaps.uniform(*timing.lead_in_s)) * rate)
    instructs = False
    if context.cast is not None and draws_opening(context.config):
        opening = SegmentBuilder(context, recipe.rng("opening"))
        instructs = opening.chance(context.config.scenarios.instructed_share)
        prompt_s = float(opening.rng.uniform(*context.config.voices.voice_prompt_s))
        at += open_with(opening, script, instructs=instructs, prompt_s=prompt_s)
    placed: list[str] = []
    misses = 0
    for number, name in enumerate(recipe.families):
        segment = SegmentBuilder(context, recipe.rng(f"segment/{number}"))
        try:
            REGISTRY[name].build(segment, at)
        except DoesNotFit:
            misses += 1
            if misses == MAX_MISSES:
                break
            continue
        script.extend(segment.script)
        script.parts.append((name, segment.script))
        placed.append(name)
        at = segment.end_sample + round(float(gaps.uniform(*timing.gap_s)) * rate)
        if at >= n_samples:
            break
    if context.cast is not None:
        transplant(recipe, context, script, families=placed)
    for number in range(recipe.channel.n_overlays):
        _overlay(context, script, SegmentBuilder(context, recipe.rng(f"overlay/{number}")))
    _third_voice(recipe, context, script)
    if instructs:
        instruct(context, script, placed)
    script.timeline.sort()
    return script, placed


def _third_voice(recipe: Recipe, context: DialogueContext, script: Script) -> None:
    """Add a person beside the user who speaks to the user, not to the agent."""
    c = context.config.acoustics.places
    if not c.third_voice_probability:
        return
    segment = SegmentBuilder(context, recipe.rng("acoustics/third voice"))
    if segment.chance(c.third_voice_probability):
        level_db = round(float(segment.rng.uniform(*c.third_voice_db)), 3)
        _overlay(context, script, segment, beside_db=level_db)


def _overlay(
    context: DialogueContext,
    script: Script,
    segment: SegmentBuilder,
    *,
    beside_db: float | None = None,
) -> None:
    """Add another voice at a random time, with an expectation only if it is certain."""
    start = int(segment.rng.integers(context.config.n_samples))
    try:
        span = voice_at(segment, start)
    except DoesNotFit:
        return
    if beside_db is not None:
        segment.script.clips[-1] = replace(
            segment.script.clips[-1], gain_db=beside_db, place="beside"
        )
    tail = context.rules.samples(context.config.timing.background_tail_s)
    window = (span.start_sample, min(span.end_sample + tail, context.config.n_samples))
    segment.event(background_voice(span, silence_beside(script.timeline, window)))
    script.extend(segment.script)
    script.parts.append((OVERLAY, segment.script))
