"""`microturn inspect`: the data card, one dialogue as picture and sound, or a check of all."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from microturn.configs.command import write_json
from microturn.datagen.card import CARD_JSON, CARD_TEXT
from microturn.datagen.check import faults_of_set
from microturn.datagen.config import InspectConfig
from microturn.datagen.shards import Sample, ShardReader
from microturn.datagen.timeline import Timeline

DEFAULT_OUT = Path("runs/inspect")
MOST_FAULTS = 20


def inspect(config: InspectConfig) -> int:
    """Show what was asked for; returns the exit code."""
    reader = ShardReader(config.data)
    card = json.loads((reader.folder / CARD_JSON).read_text())
    write_json(card, config.json)
    if config.index >= 0:
        if config.index >= len(reader):
            raise ValueError(
                f"index={config.index}: {reader.folder} has {len(reader)} dialogues, "
                f"0 to {len(reader) - 1}"
            )
        show(reader, reader[config.index], Path(config.out or DEFAULT_OUT))
    elif config.json != "-" and not config.check:
        print((reader.folder / CARD_TEXT).read_text())
    return check(reader) if config.check else 0


def show(reader: ShardReader, sample: Sample, out: Path) -> None:
    """Write the picture and the sound of one dialogue."""
    from microturn.datagen.picture import draw_dialogue

    out.mkdir(parents=True, exist_ok=True)
    layout = reader.layout
    n_samples = reader.n_micro_turns * layout.samples_per_micro_turn
    timeline = Timeline.from_json(sample.json, sample_rate=layout.sample_rate, n_samples=n_samples)
    stem = f"dialogue-{sample.key}"
    draw_dialogue(
        sample, timeline, layout=layout, tokenizer=reader.tokenizer, path=out / f"{stem}.png"
    )
    user, agent = sample.user(), sample.agent()
    sounds = {"user": user, "agent": agent, "mix": np.stack([user, agent], axis=1)}
    for name, audio in sounds.items():
        soundfile.write(out / f"{stem}.{name}.wav", audio, layout.sample_rate, subtype="PCM_16")
    (out / f"{stem}.json").write_text(json.dumps(sample.json, indent=2, ensure_ascii=False) + "\n")
    for suffix in ("png", "user.wav", "agent.wav", "mix.wav", "json"):
        print(out / f"{stem}.{suffix}")


def check(reader: ShardReader) -> int:
    """Print what is wrong with the set; 1 when something is."""
    faults = []
    for fault in tqdm(faults_of_set(reader), desc="faults", unit="", file=sys.stderr, disable=None):
        faults.append(fault)
        print(fault)
        if len(faults) == MOST_FAULTS:
            print("and perhaps more")
            break
    if not faults:
        print(f"{reader.folder}: {len(reader)} dialogues, nothing wrong")
    return 1 if faults else 0
