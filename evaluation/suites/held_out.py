"""Test dialogues of a suite, simulated once per configuration and cached."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from microturn.configs.load import load_config
from microturn.datagen.acoustics.rooms import BANK_VERSION
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.home import digest_of
from microturn.datagen.labels.dialogue import FORMAT as LABEL_FORMAT
from microturn.datagen.sets.contents import FORMAT as CONTENTS_FORMAT
from microturn.datagen.simulate import FREE_KEYS, simulate
from microturn.evaluation.scoring.dialogue_set import DialogueSet
from microturn.evaluation.suites.conditions.needed_people import require_corpora, require_people
from microturn.evaluation.suites.suite import Suite
from microturn.model.streams import StreamLayout

SEED_STEP: Final = 100_000  # from a set of a suite to the next; no shipped seed is so large
SETS_VERSION: Final = 2  # bump when a scenario makes other dialogues of the same configuration


def held_out_config(
    suite: Suite, *, n_dialogues: int = 0, number: int = 0, layout: StreamLayout | None = None
) -> DatagenConfig:
    """Configuration of `microturn simulate` for a suite; `n_dialogues` 0: as many as it plays.

    `number` counts sets of the suite that only the seed tells apart: 0 is its own, and the others
    have other dialogues in other rooms.

    Of a checkpoint's `layout` the clock and the size of its pictures count; which positions carry
    tokens does not, since dialogues are played as sound, pictures and text.
    """
    n = n_dialogues or suite.n_dialogues
    words = ["out=", f"n_dialogues={n}", f"dialogues_per_shard={max(1, min(4, n // 4))}"]
    config: DatagenConfig = load_config(
        DatagenConfig, [suite.data_path], [*words, "features=false"]
    )
    if config.split != "test":
        raise ValueError(f"{suite.data}: split={config.split} must be test")
    config = replace(config, seed=config.seed + number * SEED_STEP)
    return config if layout is None else replace(config, layout=_shaped(config.layout, layout))


def held_out_set(
    suite: Suite,
    cache: Path,
    *,
    n_dialogues: int = 0,
    number: int = 0,
    layout: StreamLayout | None = None,
    workers: int = 0,
) -> DialogueSet:
    """Open the suite's set of that number below `cache`, simulating it unless it is there.

    ValueError where a suite that lists who asks in its set finds a corpus missing, or others.
    """
    config = held_out_config(suite, n_dialogues=n_dialogues, number=number, layout=layout)
    if suite.people:
        require_corpora(suite, config)
    folder = cache / "suites" / f"{suite.set_name}-{config_digest(config)[:16]}"
    if not (folder / "index.json").is_file():
        if suite.people:
            require_people(suite, config)
        executor = "serial" if workers == 1 else config.executor
        config = replace(config, out=str(folder), workers=workers, executor=executor)
        simulate(config, cache=cache)
    return DialogueSet.open(str(folder))


def _shaped(layout: StreamLayout, model: StreamLayout) -> StreamLayout:
    """`layout` with the clock and the picture sizes of the layout of a model."""
    sizes = {"sample_rate": model.sample_rate, "micro_turn_ms": model.micro_turn_ms}
    for spec in layout.lane_specs:
        rows, cols = model.lane(spec.name).grid
        if spec.kind == "frames" and rows:
            sizes |= {f"{spec.name}_rows": rows, f"{spec.name}_cols": cols}
    return replace(layout, **sizes)


def config_digest(config: DatagenConfig) -> str:
    """Digest of everything that determines the dialogues."""
    settings: dict[str, Any] = {
        name: value for name, value in asdict(config).items() if name not in FREE_KEYS
    }
    versions = f"{SETS_VERSION} {BANK_VERSION} {LABEL_FORMAT} {CONTENTS_FORMAT}"
    text = f"{versions} {sorted(settings.items())} {digest_of(config.corpus)}"
    return hashlib.sha256(text.encode()).hexdigest()
