"""Draws the acoustic conditions of a dialogue whose words are placed.

These are the user's position, stretches of noise, the echo path, the line and the network. Each
has a random generator of its own; those that happen at a time also become events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from microturn.datagen.acoustics.echo import EchoPath
from microturn.datagen.acoustics.line import Line
from microturn.datagen.acoustics.network import Network, losses, missing_micro_turns, spans_of
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.expectations import SAME_UTTERANCE_S, expectation_during
from microturn.datagen.dialogue.recipe import Recipe
from microturn.datagen.dialogue.timeline import Event, Expect, Timeline
from microturn.datagen.labels.event_types import ECHO, MUSIC, NOISE, PACKET_LOSS

STALL_TRIES: Final = 8
MUSIC_BEDS: Final = ("music", "recorded_music")


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A span in which a bed sounds."""

    kind: str
    start_sample: int
    end_sample: int
    snr_db: float
    offset: float  # position in the bed at which it begins, 0 to 1

    @property
    def event(self) -> str:
        return MUSIC if self.kind in MUSIC_BEDS else NOISE


@dataclass(frozen=True, kw_only=True)
class AcousticConditions:
    """The drawn acoustic conditions of one dialogue; by default no effect."""

    far_user: bool = False
    stretches: tuple[Stretch, ...] = ()
    echo: EchoPath | None = None
    line: Line = field(default_factory=Line)
    network: Network = field(default_factory=Network)


def draw_conditions(
    config: DatagenConfig, recipe: Recipe, *, timeline: Timeline, kinds: Sequence[str]
) -> AcousticConditions:
    """Draw the conditions of a timeline, and add their events to it.

    `kinds` are the beds that stretches can have. Every effect has its own generator, so that
    switching one on leaves the others as they are.
    """
    conditions = AcousticConditions(
        far_user=_happens(recipe, "far user", config.acoustics.places.far_user_probability),
        stretches=tuple(_stretches(config, recipe, kinds)),
        echo=_echo(config, recipe),
        line=_line(config, recipe),
        network=_network(config, recipe, timeline),
    )
    timeline.events += channel_events(config, recipe, timeline, conditions)
    return conditions


def _happens(recipe: Recipe, effect: str, probability: float) -> bool:
    return probability > 0 and bool(recipe.rng(f"acoustics/{effect}?").random() < probability)


def _uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return round(float(rng.uniform(*bounds)), 4)


def _stretches(config: DatagenConfig, recipe: Recipe, kinds: Sequence[str]) -> Iterator[Stretch]:
    c, n, rate = config.acoustics.stretch, config.n_samples, config.layout.sample_rate
    if not kinds or not _happens(recipe, "stretches", c.probability):
        return
    rng, free_from = recipe.rng("acoustics/stretches"), 0
    starts = np.sort(rng.integers(n, size=int(rng.integers(1, c.max_stretches + 1))))
    for start in starts:
        kind = kinds[int(rng.integers(len(kinds)))]
        length, snr_db = round(_uniform(rng, c.length_s) * rate), _uniform(rng, c.snr_db)
        offset = round(float(rng.random()), 6)
        first, last = max(int(start), free_from), min(int(start) + length, n)
        if last - first >= rate // 4:
            yield Stretch(
                kind=kind, start_sample=first, end_sample=last, snr_db=snr_db, offset=offset
            )
            free_from = last


def _echo(config: DatagenConfig, recipe: Recipe) -> EchoPath | None:
    c = config.acoustics.echo
    if recipe.channel.echo_db is None or not _happens(recipe, "echo room", c.room_probability):
        return None
    rng = recipe.rng("acoustics/echo")
    drive, erle_db = _uniform(rng, c.distortion), _uniform(rng, c.erle_db)
    converge_s = _uniform(rng, c.converge_s)
    cancelled = _happens(recipe, "canceller", c.cancel_probability)
    return EchoPath(
        drive=drive,
        erle_db=erle_db if cancelled else None,
        converge_s=converge_s,
        taps_ms=c.taps_ms,
    )


def _line(config: DatagenConfig, recipe: Recipe) -> Line:
    c = config.acoustics.line
    if not (c.clip_probability or c.drift_probability or c.telephone_probability):
        return Line(telephone_hz=c.telephone_hz)
    rng = recipe.rng("acoustics/line")
    clip_db, drift_ppm = _uniform(rng, c.clip_db), _uniform(rng, c.drift_ppm)
    law = c.laws[int(rng.integers(len(c.laws)))]
    return Line(
        clip_db=clip_db if _happens(recipe, "clip", c.clip_probability) else None,
        drift_ppm=drift_ppm if _happens(recipe, "drift", c.drift_probability) else None,
        law=law if _happens(recipe, "telephone", c.telephone_probability) else None,
        telephone_hz=c.telephone_hz,
    )


def _network(config: DatagenConfig, recipe: Recipe, timeline: Timeline) -> Network:
    c, layout, n = config.acoustics.network, config.layout, config.n_samples
    rng = recipe.rng("acoustics/network")
    packet = max(1, round(c.packet_ms * layout.sample_rate / 1000))
    rate, burst = _uniform(rng, c.loss_rate), _uniform(rng, c.burst)
    concealment = c.concealments[int(rng.integers(len(c.concealments)))]
    if c.loss_rates:
        rate = c.loss_rates[int(rng.integers(len(c.loss_rates)))]
    loses = _happens(recipe, "loss", c.loss_probability)
    n_packets = -(-n // packet)
    lost = np.zeros(n_packets, np.bool_)
    if loses:
        lost |= losses(rng, n_packets, rate=rate, burst=burst, max_burst=c.max_burst)
    stalls = tuple(_stalls(config, recipe, timeline, packet))
    for start, end in stalls:
        lost[start // packet : -(-end // packet)] = True
    if not (loses or stalls):
        return Network(packet_ms=c.packet_ms)
    spans = spans_of(lost, packet, n_samples=n)
    return Network(
        packet_ms=c.packet_ms,
        loss_rate=rate if loses else None,
        burst=burst if loses else None,
        concealment=concealment,
        lost=spans,
        stalls=stalls,
        missing_input=missing_micro_turns(
            spans, layout, n=config.n_micro_turns, share=c.missing_share
        ),
    )


def _stalls(
    config: DatagenConfig, recipe: Recipe, timeline: Timeline, packet: int
) -> Iterator[tuple[int, int]]:
    """Yield outages of whole packets where no voice sounds: lost words cannot be transcribed."""
    c, n, step = config.acoustics.network, config.n_samples, config.layout.samples_per_micro_turn
    if not _happens(recipe, "stall", c.stall_probability):
        return
    rng, free_from = recipe.rng("acoustics/stalls"), 0
    n_stalls = int(rng.integers(1, c.max_stalls + 1))
    for start in np.sort(rng.integers(n, size=STALL_TRIES)):
        length = round(_uniform(rng, c.stall_s) * config.layout.sample_rate)
        first = -(-max(int(start), free_from) // packet) * packet
        last = first + -(-length // packet) * packet
        # The rest of a micro-turn with missing input is not heard either.
        window = (first // step * step, -(-last // step) * step)
        voices = ("user", "background")
        if last > n or any(timeline.speaks(voice, *window) for voice in voices):
            continue
        yield first, last
        free_from, n_stalls = last + 2 * step, n_stalls - 1
        if not n_stalls:
            return


def channel_events(
    config: DatagenConfig, recipe: Recipe, timeline: Timeline, conditions: AcousticConditions
) -> list[Event]:
    """Return the events of conditions that happen at a time, with what a timeline expects then."""
    return [*_events(config, recipe, timeline, conditions)]


def _events(
    config: DatagenConfig, recipe: Recipe, timeline: Timeline, conditions: AcousticConditions
) -> Iterator[Event]:
    rate = config.layout.sample_rate
    tail = round(config.timing.background_tail_s * rate)

    def channel(kind: str, start: int, end: int, expect: Expect | None) -> Event:
        return Event(
            type=kind, start_sample=start, end_sample=end, speaker="channel", expect=expect
        )

    for stretch in conditions.stretches:
        start, end = stretch.start_sample, stretch.end_sample
        expect = expectation_during(timeline, start, end, rate=rate, tail=tail)
        yield channel(stretch.event, start, end, expect)
    for start, end in conditions.network.stalls:
        expect = expectation_during(timeline, start, end, rate=rate, tail=0)
        yield channel(PACKET_LOSS, start, end, expect)
    if conditions.echo is not None:
        lag = round(recipe.channel.echo_ms * rate / 1000)
        for start, end in timeline.stretches("agent", join=round(SAME_UTTERANCE_S * rate)):
            last = min(end + lag, timeline.n_samples)
            if start + lag < last:
                expect = expectation_during(timeline, start + lag, last, rate=rate, tail=tail)
                yield channel(ECHO, start + lag, last, expect)
