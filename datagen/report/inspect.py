"""`microturn inspect`: shows the data card or one dialogue, or checks all dialogues."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.configs.files import make_folder
from microturn.datagen.dialogue.timeline import Timeline
from microturn.datagen.report.card import CARD_TEXT, missed_targets, read_card
from microturn.datagen.report.check import faults_of_set
from microturn.datagen.report.config import InspectConfig
from microturn.datagen.report.page import page_of, stems_of
from microturn.datagen.sets.contents import (
    CONTENTS_NAME,
    Contents,
    read_contents,
    shared_line,
    shared_table,
    shared_with,
)
from microturn.datagen.sets.shards import ShardReader, StoredDialogue

DEFAULT_OUT = Path("runs/inspect")
MAX_FAULTS = 20


def inspect(config: InspectConfig) -> int:
    """Show the card or a dialogue, or check the set; returns the exit code."""
    reader = ShardReader(config.data)
    if config.against:
        return compare(reader, ShardReader(config.against), json_file=config.json)
    card = read_card(reader.folder)
    write_json(card, config.json)
    if config.index >= 0:
        if config.index >= len(reader):
            raise ValueError(
                f"index={config.index}: {reader.folder} has {len(reader)} dialogues, "
                f"0 to {len(reader) - 1}"
            )
        show(reader, reader[config.index], out=Path(config.out or DEFAULT_OUT))
    elif config.json != "-" and not config.check:
        print((reader.folder / CARD_TEXT).read_text(encoding="utf-8"))
    return check(reader, card) if config.check else 0


def compare(reader: ShardReader, training: ShardReader, *, json_file: str) -> int:
    """Print what a set shares with a training set; returns the exit code."""
    test, train = (contents_of(one) for one in (reader, training))
    shared = shared_with(test, train)
    write_json({"shared": shared}, json_file)
    if json_file != "-":
        print(f"{reader.folder} against {training.folder}\n")
        print("\n".join(shared_table(shared)))
        print(f"\n{shared_line(shared)}")
    return 0


def contents_of(reader: ShardReader) -> Contents:
    """Read the contents of a set; raises ValueError for a set that was made without them."""
    contents = read_contents(reader.folder)
    if contents is None:
        raise ValueError(
            f"{reader.folder} has no {CONTENTS_NAME}: it was simulated before sets recorded who is "
            "heard in them; simulate it again"
        )
    return contents


def show(reader: ShardReader, sample: StoredDialogue, *, out: Path) -> None:
    """Write the picture, audio, labels and page of one dialogue."""
    from microturn.datagen.report.picture import draw_dialogue

    make_folder(out)
    layout = reader.layout
    n_samples = reader.n_micro_turns * layout.samples_per_micro_turn
    timeline = Timeline.from_labels(
        sample.labels, sample_rate=layout.sample_rate, n_samples=n_samples
    )
    stem = f"dialogue-{sample.key}"
    draw_dialogue(
        sample, timeline, layout=layout, tokenizer=reader.tokenizer, path=out / f"{stem}.png"
    )
    user, agent = sample.user(), sample.agent()
    sounds = {"user": user, "agent": agent, "mix": np.stack([user, agent], axis=1)}
    for name in stems_of(sample):
        sounds[f"stem_{name}"] = sample.stem(name)
    for name, audio in sounds.items():
        soundfile.write(out / f"{stem}.{name}.wav", audio, layout.sample_rate, subtype="PCM_16")
    text = json.dumps(sample.json, indent=2, ensure_ascii=False) + "\n"
    (out / f"{stem}.json").write_text(text, encoding="utf-8")
    page = page_of(sample, layout=layout, tokenizer=reader.tokenizer)
    (out / f"{stem}.html").write_text(page, encoding="utf-8")
    for suffix in ("html", "png", *(f"{name}.wav" for name in sounds), "json"):
        print(out / f"{stem}.{suffix}")


def check(reader: ShardReader, card: Mapping[str, Any]) -> int:
    """Print the faults of the set and the targets it misses; returns 1 if there are any."""
    from threadpoolctl import threadpool_limits

    faults = list(missed_targets(card))
    for fault in faults:
        print(fault)
    sentences = faults_of_set(reader)
    with threadpool_limits(1):  # a matrix product split among threads may round differently
        for fault in tqdm(sentences, desc="faults", unit="", file=sys.stderr, disable=None):
            faults.append(fault)
            print(fault)
            if len(faults) >= MAX_FAULTS:
                print("there may be more")
                break
    if not faults:
        print(f"{reader.folder}: {len(reader)} dialogues, nothing wrong{_verdict(card)}")
    return 1 if faults else 0


def _verdict(card: Mapping[str, Any]) -> str:
    human = card.get("human")
    if not human or not human["asked_for"]:
        return "; human timing is disabled and not judged"
    n, tolerance = len(human["targets"]), human["tolerance"]
    return f", all {n} measures of human timing within {tolerance:.0%}"
