"""The held-out dialogues of a suite: simulated once per configuration, then found again."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.home import digest_of
from microturn.datagen.simulate import FREE_KEYS, simulate
from microturn.evaluation.scoring.dialogue_set import DialogueSet
from microturn.evaluation.suites.suite import Suite
from microturn.model.streams import StreamLayout


def held_out_config(
    suite: Suite, *, n_dialogues: int = 0, layout: StreamLayout | None = None
) -> DatagenConfig:
    """What `microturn simulate` is asked for a suite; `n_dialogues` 0: as many as the suite plays.

    Of a checkpoint's `layout` the clock and the size of its pictures count; which positions carry
    tokens does not, since dialogues are played as sound, pictures and text.
    """
    n = n_dialogues or suite.n_dialogues
    words = ["out=", f"n_dialogues={n}", f"dialogues_per_shard={max(1, min(4, n // 4))}"]
    config: DatagenConfig = load_config(
        DatagenConfig, [suite.data_path], [*words, "features=false"]
    )
    if config.split != "test":
        raise ValueError(f"{suite.data}: split={config.split} must be test: held-out voices")
    return config if layout is None else replace(config, layout=_shaped(config.layout, layout))


def held_out_set(
    suite: Suite,
    cache: Path,
    *,
    n_dialogues: int = 0,
    layout: StreamLayout | None = None,
    workers: int = 0,
) -> DialogueSet:
    """The suite's dialogues, below `cache`; what is there already is not made again."""
    config = held_out_config(suite, n_dialogues=n_dialogues, layout=layout)
    folder = cache / "suites" / f"{suite.set_name}-{_digest(config)[:16]}"
    if not (folder / "index.json").is_file():
        executor = "serial" if workers == 1 else config.executor
        asked = replace(config, out=str(folder), workers=workers, executor=executor)
        simulate(asked, cache=cache)
    return DialogueSet.open(str(folder))


def _shaped(own: StreamLayout, asked: StreamLayout) -> StreamLayout:
    clock = {"sample_rate": asked.sample_rate, "micro_turn_ms": asked.micro_turn_ms}
    for spec in own.lane_specs:
        rows, cols = asked.lane(spec.name).grid
        if spec.kind == "frames" and rows:
            clock |= {f"{spec.name}_rows": rows, f"{spec.name}_cols": cols}
    return replace(own, **clock)


def _digest(config: DatagenConfig) -> str:
    """Changes with everything that changes the dialogues."""
    known: dict[str, Any] = {
        name: value for name, value in asdict(config).items() if name not in FREE_KEYS
    }
    text = f"{sorted(known.items())} {digest_of(config.corpus)}"
    return hashlib.sha256(text.encode()).hexdigest()
