"""`microturn fit`: the timing of people in a set or a corpus, as a block of `timing.human`."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from microturn.configs.command import write_json
from microturn.configs.files import write_atomically
from microturn.datagen.config import HumanTimingConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import RECORDED
from microturn.datagen.fit.config import FitConfig
from microturn.datagen.fit.law import TimingSample, fit_timing
from microturn.datagen.fit.sources import of_conversations, of_set, sample_of
from microturn.datagen.sets.shards import INDEX_NAME, ShardReader
from microturn.datagen.sets.storage import place

FITTED: Final = (
    "overlapped_changes",
    "gap_median_s",
    "gap_sigma",
    "overlap_median_s",
    "overlap_sigma",
    "pause_median_s",
    "pause_sigma",
    "backchannel_share",
    "overlap_ratio",
    "silence_ratio",
    "dialogue_tempo",
    "speaker_tempo",
)


def fit(config: FitConfig) -> str:
    """Write the block; returns a sentence that says what was measured.

    Raises ValueError where `data` holds no dialogues that could be measured, or too few.
    """
    sample = measure_data(config)
    where = f"{config.data} in {config.language}" if config.language else config.data
    human = fit_timing(sample, tolerance=config.tolerance, where=where)
    write_atomically(Path(config.out), block(human, sample, where))
    write_json({**sample.summary(), "human": _plain(human)}, config.json)
    return (
        f"{config.out}: timing of {sample.dialogues} dialogues, "
        f"{sample.tally.offsets.total()} changes of speaker; "
        f"`microturn simulate datagen/human.yaml {config.out} out=...` talks like them"
    )


def measure_data(config: FitConfig) -> TimingSample:
    """Measure the dialogues of a shard set, or the recorded conversations of corpora."""
    if (place(config.data) / INDEX_NAME).is_file():
        dialogues = of_set(ShardReader(config.data), language=config.language)
    else:
        conversations = Conversations.open(config.data)
        if not any(row.kind == RECORDED for row in conversations.rows):
            raise ValueError(
                f"data={config.data!r} is no shard set (it has no {INDEX_NAME}) and no corpus with "
                "recorded conversations; `microturn corpus add` makes one of two-sided recordings"
            )
        dialogues = of_conversations(conversations, language=config.language, config=config.derive)
    sample = sample_of(dialogues, config.derive)
    if not sample.dialogues:
        raise ValueError(f"data={config.data!r} has no dialogue in language={config.language!r}")
    return sample


def block(human: HumanTimingConfig, sample: TimingSample, where: str) -> str:
    """The configuration file: what was measured as comments, and the law."""
    summary = sample.summary()
    counts = ", ".join(
        f"{summary[name]} {name}" for name in ("gaps", "overlaps", "pauses", "backchannels")
    )
    lines = [
        f"# Timing of {where}: {summary['dialogues']} dialogues, {summary['minutes']:g} minutes,",
        f"# {counts}.",
        *(f"# {name}: {value}" for name, value in summary["measures"].items()),
        "timing:",
        "  human:",
        "    enabled: true",
        *(f"    {name}: {getattr(human, name):g}" for name in FITTED),
    ]
    return "\n".join(lines) + "\n"


def _plain(human: HumanTimingConfig) -> dict[str, Any]:
    return {item.name: getattr(human, item.name) for item in fields(human) if item.name in FITTED}
