"""Everything that is drawn about one dialogue before anything sounds; made of numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.cast import Cast
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.dialogue.variants import Variants

MAX_SEGMENTS = 24  # candidates per dialogue; far more than fit


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The drawn properties of a microphone and what it picks up."""

    room: int  # index into the bank of rooms
    far_place: int
    low_pass_hz: float
    gain_db: float
    noise: str  # kind of bed, "" for none
    snr_db: float
    noise_offset: float  # where in the bed the dialogue begins, 0 to 1
    echo_db: float | None  # None: the agent is not heard in the microphone
    echo_ms: float
    zero_s: float  # length of a digitally silent stretch, 0 for none
    n_overlays: int  # background voices over the dialogue


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One dialogue as numbers: who speaks, which families in which order, and the channel."""

    seed: int
    index: int
    split: str
    voice: str
    families: tuple[str, ...]  # in order; those that no longer fit are left out
    channel: Channel
    cast: Cast | None = None  # of open speech

    def rng(self, purpose: str) -> np.random.Generator:
        """The generator of one purpose in this dialogue."""
        return dialogue_rng(self.seed, self.index, self.split, purpose)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def dialogue_rng(seed: int, index: int, split: str, purpose: str) -> np.random.Generator:
    """Splits of one seed share no random numbers."""
    return rng_for(seed, index, f"{split}/{purpose}")


def draw_recipe(
    config: DatagenConfig,
    index: int,
    *,
    voices: Sequence[str],
    variants: Variants,
    noise_kinds: tuple[str, ...],
) -> Recipe:
    """The recipe of dialogue `index`: a pure function of configuration, seed and index."""

    def rng(purpose: str) -> np.random.Generator:
        return dialogue_rng(config.seed, index, config.split, purpose)

    names = tuple(config.weights)
    weights = np.array([config.weights[name] for name in names])
    order = rng("families").choice(len(names), size=MAX_SEGMENTS, p=weights / weights.sum())
    return Recipe(
        seed=config.seed,
        index=index,
        split=config.split,
        voice=variants.of_user(voices[int(rng("voice").integers(len(voices)))], rng),
        families=tuple(names[i] for i in order),
        channel=_draw_channel(config, rng("channel"), noise_kinds),
    )


def _draw_channel(
    config: DatagenConfig, rng: np.random.Generator, noise_kinds: tuple[str, ...]
) -> Channel:
    """Every number is drawn whether it is used or not, so that one choice moves no other."""
    c = config.channel

    def uniform(bounds: tuple[float, float]) -> float:
        return round(float(rng.uniform(*bounds)), 3)

    has_noise = rng.random() < c.noise_probability and bool(noise_kinds)
    kind = noise_kinds[int(rng.integers(max(len(noise_kinds), 1)))] if noise_kinds else ""
    has_echo = rng.random() < c.echo_probability
    has_zero = rng.random() < c.zero_probability
    has_overlay = rng.random() < c.overlay_probability
    echo_db, zero_s = uniform(c.echo_db), uniform(c.zero_s)
    return Channel(
        room=int(rng.integers(config.rooms.n_rooms)),
        far_place=int(rng.integers(2)),
        low_pass_hz=round(uniform(c.low_pass_hz)),
        gain_db=uniform(c.gain_db),
        noise=kind if has_noise else "",
        snr_db=uniform(c.snr_db),
        noise_offset=round(float(rng.random()), 6),
        echo_db=echo_db if has_echo else None,
        echo_ms=uniform(c.echo_ms),
        zero_s=zero_s if has_zero else 0.0,
        n_overlays=int(rng.integers(1, 3)) if has_overlay else 0,
    )
