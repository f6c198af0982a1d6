"""Recipe to script: the segments of a dialogue, one after the other, and voices laid over it."""

from __future__ import annotations

from dataclasses import replace

from microturn.datagen.recipe import Recipe
from microturn.datagen.scenarios import REGISTRY, Cast, DoesNotFit, Script, Stage
from microturn.datagen.scenarios.background import voice_at
from microturn.datagen.surroundings import nobody_due
from microturn.datagen.timeline import Event, Expect, Timeline
from microturn.model.streams import normalise

TRIES = 3  # segments tried for the space that is left before the dialogue is closed


def write_script(recipe: Recipe, cast: Cast) -> tuple[Script, list[str]]:
    """What is said and expected in a dialogue, and the families that found a place in it."""
    timing, rate = cast.config.timing, cast.rules.rate
    n_samples = cast.config.n_samples
    script = cast.script = Script(timeline=Timeline(n_samples=n_samples))
    gaps = recipe.rng("gaps")
    at = round(float(gaps.uniform(*timing.lead_in)) * rate)
    placed: list[str] = []
    misses = 0
    for number, name in enumerate(recipe.families):
        stage = Stage(cast, recipe.rng(f"segment/{number}"))
        try:
            REGISTRY[name].build(stage, at)
        except DoesNotFit:
            misses += 1
            if misses == TRIES:
                break
            continue
        script.extend(stage.script)
        placed.append(name)
        at = stage.end + round(float(gaps.uniform(*timing.gap)) * rate)
        if at >= n_samples:
            break
    for number in range(recipe.channel.n_overlays):
        _overlay(cast, script, Stage(cast, recipe.rng(f"overlay/{number}")))
    _third_voice(recipe, cast, script)
    script.timeline.sort()
    return script, placed


def _third_voice(recipe: Recipe, cast: Cast, script: Script) -> None:
    """Somebody beside the user says a line, to the user and not to the agent."""
    c = cast.config.acoustics.places
    if not c.third_voice_probability:
        return
    stage = Stage(cast, recipe.rng("acoustics/third voice"))
    if stage.chance(c.third_voice_probability):
        level_db = round(float(stage.rng.uniform(*c.third_voice_db)), 3)
        _overlay(cast, script, stage, beside_db=level_db)


def _overlay(cast: Cast, script: Script, stage: Stage, *, beside_db: float | None = None) -> None:
    """Another voice somewhere in the dialogue; expected of the agent is only what is certain."""
    start = int(stage.rng.integers(cast.config.n_samples))
    try:
        span = voice_at(stage, start)
    except DoesNotFit:
        return
    if beside_db is not None:
        stage.script.clips[-1] = replace(stage.script.clips[-1], gain_db=beside_db, place="beside")
    tail = cast.rules.samples(cast.config.timing.background_tail)
    window = (span.start, min(span.end + tail, cast.config.n_samples))
    expect = None
    if nobody_due(script.timeline, window):
        expect = Expect(act="stay_silent", window=window)
    stage.event(
        Event(
            type="background_speech",
            start=span.start,
            end=span.end,
            speaker="background",
            text=normalise(span.text),
            expect=expect,
        )
    )
    script.extend(stage.script)
