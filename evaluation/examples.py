"""`microturn examples`: test dialogues whose users speak to the page of a checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import soundfile

from microturn.configs.files import write_atomically
from microturn.datagen.labels.dialogue import DialogueLabels
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.evaluation.config import ExamplesConfig
from microturn.inference.serve.about import EXAMPLES, EXAMPLES_INDEX
from microturn.model.checkpoint_place import find_checkpoint

MAX_TITLE = 72  # characters
SMALL = 0.9  # of 0 to 1: some 25 kbit/s, a quarter of FLAC


def write_examples(config: ExamplesConfig) -> int:
    """Write recordings and their index into `examples` of the checkpoint folder, for the page.

    Raises ValueError for dialogues of the training side.
    """
    folder = find_checkpoint(config.checkpoint)
    reader = ShardReader(config.data)
    if reader.split == "train":
        raise ValueError(
            f"{config.data} is of the training side; examples have to be new to the model: "
            "simulate a set with split=test"
        )
    target = folder / EXAMPLES
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    rows = []
    for dialogue in chosen(reader, config.n):
        name = f"{dialogue.index:08d}.opus"
        user, rate = dialogue.user(), reader.layout.sample_rate
        soundfile.write(
            target / name, user, rate, format="OGG", subtype="OPUS", compression_level=SMALL
        )
        seconds = round(len(user) / rate, 2)
        rows.append({"file": name, "title": title_of(dialogue.labels), "seconds": seconds})
    write_atomically(target / EXAMPLES_INDEX, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")
    print(f"{target} has {len(rows)} examples; `microturn serve checkpoint={folder}` shows them")
    return 0


def chosen(reader: ShardReader, n: int) -> Iterator[StoredDialogue]:
    """Yield up to `n` dialogues in which a user speaks, each as new in kind as there are."""
    kinds = {
        position: _kinds(dialogue.labels)
        for position in range(len(reader))
        if title_of((dialogue := reader.without_sound(position)).labels)
    }
    seen: set[str] = set()
    while kinds and n > 0:
        best = max(kinds, key=lambda position: (len(kinds[position] - seen), -position))
        seen |= kinds.pop(best)
        n -= 1
        yield reader[best]


def title_of(labels: DialogueLabels) -> str:
    """Return what the user says, in order; empty where nothing is said to the agent."""
    said = [event.text for event in labels.events if event.speaker == "user" and event.text]
    title = ", ".join(said)
    return title if len(title) <= MAX_TITLE else f"{title[: MAX_TITLE - 1].rstrip()}…"


def _kinds(labels: DialogueLabels) -> set[str]:
    return {event.type for event in labels.events}
