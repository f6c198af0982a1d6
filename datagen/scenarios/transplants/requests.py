"""Requests that are put into a free stretch of open speech: a cue, or a delegation.

The scenario of that name builds the request and what the agent says to it, of the recordings that
the closed scenarios have, so that it is exact. The dialogue around it stays as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.open.sources import OpenSources
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.script import DoesNotFit, Script
from microturn.datagen.scenario_config import REQUESTS
from microturn.datagen.scenarios.base import REGISTRY, DialogueContext, SegmentBuilder
from microturn.datagen.scenarios.open.agent_words import text_fits
from microturn.datagen.scenarios.plugins import needed_words
from microturn.datagen.scenarios.transplants.stretches import (
    FreeStretch,
    Samples,
    free_stretches,
    widened,
    widening,
)

BEFORE_S: Final = (0.4, 1.2)  # silence before the request
AFTER_S: Final = 0.5  # silence after the last that is expected, at least
TRIES: Final = 6  # in long stretches, and then in seams


def add_request(
    recipe: Recipe, context: DialogueContext, script: Script, kind: str, taken: list[Samples]
) -> None:
    """Put a request of a kind into a script, and its span into `taken`, where there is a place."""
    segment = SegmentBuilder(_closed(recipe, context), recipe.rng(f"transplant/{kind}"))
    if not segment.chance(context.config.scenarios.transplants[kind]):
        return
    stretches = free_stretches(script, taken, rate=segment.rules.rate)
    order = [stretches[int(i)] for i in segment.rng.permutation(len(stretches))]
    long = [stretch for stretch in order if stretch.is_long]
    seams = [stretch for stretch in order if stretch.is_seam]
    for stretch in (*long[:TRIES], *seams[:TRIES]):
        if _put(segment, script, kind, stretch, taken):
            return


def require_requests(config: DatagenConfig, sources: OpenSources) -> None:
    """Raise ValueError for a request whose words nobody has recorded."""
    shares = config.scenarios.transplants
    for kind in (kind for kind in REQUESTS if shares.get(kind)):
        needed = needed_words(REGISTRY[kind], config, sources.closed_bank)
        lacking = sources.closed_bank.lacking(agent=needed.agent, user=needed.user)
        for voice, words in lacking.items():
            raise ValueError(
                f"scenarios.transplants.{kind}={shares[kind]}: corpus={config.corpus or 'default'} "
                f"has no recording of {', '.join(map(repr, words[:8]))} by {voice}; set it to 0 or "
                "add a corpus that has them, such as the one that ships, corpus=default"
            )


def _closed(recipe: Recipe, context: DialogueContext) -> DialogueContext:
    """The dialogue with the voices that have recorded the words of the closed scenarios."""
    assert context.sources is not None, "a dialogue of open speech"
    bank, rng = context.sources.closed_bank, recipe.rng("transplant/voice")
    voice = bank.user_voices[int(rng.integers(len(bank.user_voices)))]
    return replace(context, bank=bank, voice=bank.variants.of_user(voice, recipe.rng))


def _put(
    segment: SegmentBuilder,
    script: Script,
    kind: str,
    stretch: FreeStretch,
    taken: list[Samples],
) -> bool:
    """Build the request where a stretch begins, and take it over if it fits there."""
    context, rules = segment.context, segment.rules
    built = SegmentBuilder(context, segment.rng)
    start = stretch.start + segment.draw(BEFORE_S)
    try:
        REGISTRY[kind].build(built, start)
    except DoesNotFit:
        return False
    end = _end(built) + rules.samples(AFTER_S)
    by = max(rules.next_boundary(end - stretch.end), 0) * rules.step
    if end > segment.n_samples or (by and not stretch.is_seam):
        return False
    how = widening(script, taken, at=stretch.end, by=by, rate=rules.rate)
    if how is None:
        return False
    changed = widened(script, how)
    if not text_fits([changed.timeline, built.timeline], context):
        return False
    script.timeline, script.clips, script.parts = changed.timeline, changed.clips, changed.parts
    script.extend(built.script)
    script.parts.append((kind, built.script))
    taken[:] = [*how.moved(taken), (start, end)]
    return True


def _end(segment: SegmentBuilder) -> int:
    """Where everything is over that a request brings with it."""
    timeline = segment.timeline
    windows = [event.expect.window_samples for event in timeline.events if event.expect is not None]
    points: Sequence[int] = [control.sample + 1 for control in timeline.controls]
    return max(segment.end_sample, *points, *(last for _, last in windows))
