"""What acoustics cost: `python -m microturn.evaluation.bench.acoustics`, CPU time on one thread."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from microturn.datagen.acoustics.config import AcousticsConfig, RoomsConfig
from microturn.datagen.acoustics.responses import simulate_room
from microturn.datagen.acoustics.rooms import ensure_bank
from microturn.datagen.config import DatagenConfig
from microturn.datagen.dialogue.units import UnitBank
from microturn.datagen.pipeline import Simulator, make_tokenizer, open_corpus

MICRO_TURNS: Final = 300  # 60 s
DIALOGUES: Final = 6
ROUNDS: Final = 3
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


def acoustics(*effects: str) -> AcousticsConfig:
    """Some effects, each in every dialogue."""
    config: AcousticsConfig = AcousticsConfig()
    for effect in effects:
        block, changes = ALWAYS[effect]
        changed = replace(getattr(config, block), **changes)
        config = replace(config, **{block: changed})
    return config


def rows() -> Iterator[tuple[str, float]]:
    """What is done, and milliseconds per 60 s of dialogue."""
    base = DatagenConfig(out="unused", n_micro_turns=MICRO_TURNS)
    with tempfile.TemporaryDirectory() as folder:
        rooms = ensure_bank(base.rooms, base.layout.sample_rate, folders=[Path(folder)])
        tokenizer = make_tokenizer(base, UnitBank(open_corpus(base), base))

        def simulator(**channel: Any) -> Simulator:
            changes = channel.pop("acoustics", base.acoustics)
            config = replace(base, channel=replace(base.channel, **channel), acoustics=changes)
            return Simulator(config, rooms=rooms, tokenizer=tokenizer)

        none = {"noise_probability": 0.0, "overlay_probability": 0.0, "echo_probability": 0.0}
        yield "voices in rooms, nothing else", render_ms(simulator(**none))
        yield "as configured by default", render_ms(simulator())
        echo = {"echo_probability": 1.0}
        plain = render_ms(simulator(**echo))
        yield "... with plain echo in every dialogue", plain
        for effect in ALWAYS:
            spent = render_ms(simulator(**echo, acoustics=acoustics(effect)))
            yield f"    and {effect}", spent
        yield (
            "everything in every dialogue",
            render_ms(
                simulator(
                    echo_probability=1.0,
                    noise_probability=1.0,
                    overlay_probability=1.0,
                    acoustics=acoustics(*ALWAYS),
                )
            ),
        )


def render_ms(simulator: Simulator) -> float:
    """Script to sound, the fastest of some rounds; scripts are written beforehand."""
    recipes = [simulator.recipe(index) for index in range(DIALOGUES)]
    composed = [simulator.script(recipe) for recipe in recipes]

    def render() -> None:
        for recipe, (script, _, conditions) in zip(recipes, composed, strict=True):
            simulator.sound(recipe, script, conditions)

    render()  # fills caches
    return min(cpu_ms(render) for _ in range(ROUNDS)) / DIALOGUES


def cpu_ms(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000


def main() -> None:
    print(f"{'rendering 60 s, both channels':48}{'CPU ms':>8}")
    for name, spent in rows():
        print(f"{name:48}{spent:8.1f}")
    print(f"\n{'one room of the bank, ten responses':48}{'CPU ms':>8}")
    methods = {
        "image sources up to order 24 (default)": RoomsConfig(),
        "all image sources (max_order=0)": RoomsConfig(max_order=0, max_response_s=0.5),
        "few and a stochastic tail (method=tail)": RoomsConfig(method="tail"),
    }
    for name, config in methods.items():
        spent = cpu_ms(partial(_four_rooms, config))
        print(f"{name:48}{spent / 4:8.1f}")


def _four_rooms(config: RoomsConfig) -> None:
    for index in range(4):
        simulate_room(config, 16_000, index)


if __name__ == "__main__":
    main()
