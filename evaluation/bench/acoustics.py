"""`microturn bench acoustics`: CPU time of each acoustic effect on one thread."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from microturn.datagen.acoustics.config import AcousticsConfig, RoomsConfig
from microturn.datagen.acoustics.responses import simulate_room
from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus
from microturn.evaluation.bench.config import BenchAcousticsConfig
from microturn.evaluation.bench.results import publish

N_ROOMS: Final = 4  # rooms of each method
ALWAYS: Final[dict[str, tuple[str, dict[str, float]]]] = {
    "echo through a room": ("echo", {"room_probability": 1.0}),
    "... and a canceller": ("echo", {"room_probability": 1.0, "cancel_probability": 1.0}),
    "stretches of noise and music": ("stretch", {"probability": 1.0}),
    "third voice": ("places", {"third_voice_probability": 1.0}),
    "clipping": ("line", {"clip_probability": 1.0}),
    "clock drift": ("line", {"drift_probability": 1.0}),
    "telephone": ("line", {"telephone_probability": 1.0}),
    "packet loss": ("network", {"loss_probability": 1.0}),
    "stalls": ("network", {"stall_probability": 1.0}),
}
METHODS: Final = {
    "image sources up to order 24 (default)": RoomsConfig(),
    "all image sources (max_order=0)": RoomsConfig(max_order=0, max_response_s=0.5),
    "few and a stochastic tail (method=tail)": RoomsConfig(method="tail"),
}


def run_bench_acoustics(config: BenchAcousticsConfig) -> int:
    """Time rendering with each effect, and the responses of a room by each method."""
    result = {
        "dialogue_s": DatagenConfig(out="unused").layout.duration_s(config.n_micro_turns),
        "render_ms": dict(measure_effects(config)),
        "room_ms": {name: room_ms(rooms) for name, rooms in METHODS.items()},
    }
    publish(result, format_acoustics(result), config)
    return 0


def acoustics_with(*effects: str) -> AcousticsConfig:
    """Return acoustics with some effects, each in every dialogue."""
    config: AcousticsConfig = AcousticsConfig()
    for effect in effects:
        block, changes = ALWAYS[effect]
        changed = replace(getattr(config, block), **changes)
        config = replace(config, **{block: changed})
    return config


def variants(base: DatagenConfig) -> Iterator[tuple[str, DatagenConfig]]:
    """Yield the name and the configuration of each row."""

    def variant(acoustics: AcousticsConfig = base.acoustics, **channel: Any) -> DatagenConfig:
        return replace(base, channel=replace(base.channel, **channel), acoustics=acoustics)

    yield (
        "voices in rooms, nothing else",
        variant(noise_probability=0.0, overlay_probability=0.0, echo_probability=0.0),
    )
    yield "default configuration", base
    yield "... with plain echo in every dialogue", variant(echo_probability=1.0)
    for effect in ALWAYS:
        yield f"    and {effect}", variant(acoustics_with(effect), echo_probability=1.0)
    yield (
        "everything in every dialogue",
        variant(
            acoustics_with(*ALWAYS),
            echo_probability=1.0,
            noise_probability=1.0,
            overlay_probability=1.0,
        ),
    )


def measure_effects(config: BenchAcousticsConfig) -> Iterator[tuple[str, float]]:
    """Yield the name of a row and the CPU milliseconds of one dialogue."""
    base = DatagenConfig(out="unused", n_micro_turns=config.n_micro_turns)
    with tempfile.TemporaryDirectory() as folder:
        rooms = ensure_bank(base.rooms, base.layout.sample_rate, folders=[Path(folder)])
        tokenizer = make_tokenizer(base, UnitBank(open_corpus(base), base))
        for name, variant in variants(base):
            yield name, render_ms(Simulator(variant, rooms=rooms, tokenizer=tokenizer), config)


def render_ms(simulator: Simulator, config: BenchAcousticsConfig) -> float:
    """Time script to sound, the fastest round; scripts are written beforehand."""
    recipes = [simulator.recipe(index) for index in range(config.n_dialogues)]
    composed = [simulator.script(recipe) for recipe in recipes]

    def render() -> None:
        for recipe, (script, _, conditions) in zip(recipes, composed, strict=True):
            simulator.sound(recipe, script, conditions=conditions)

    render()  # fills caches
    return min(cpu_ms(render) for _ in range(config.rounds)) / config.n_dialogues


def room_ms(rooms: RoomsConfig) -> float:
    """Time the ten responses of one room of the bank."""

    def simulate() -> None:
        for index in range(N_ROOMS):
            simulate_room(rooms, 16_000, index)

    return cpu_ms(simulate) / N_ROOMS


def cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def format_acoustics(result: Mapping[str, Any]) -> str:
    """Format the figures as a text table."""
    head = f"rendering {result['dialogue_s']:g} s, both channels"
    lines = [f"{head:48}{'CPU ms':>8}"]
    lines += [f"{name:48}{spent:8.1f}" for name, spent in result["render_ms"].items()]
    lines += ["", f"{'one room of the bank, ten responses':48}{'CPU ms':>8}"]
    lines += [f"{name:48}{spent:8.1f}" for name, spent in result["room_ms"].items()]
    return "\n".join(lines) + "\n"
