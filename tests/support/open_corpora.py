"""Small corpora of conversations, made of the recordings that ship."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME
from microturn.datagen.corpora.manifest import MANIFEST_NAME, Corpus

PEOPLE = ("joe", "faye", "sparky", "trader-bob", "witch-doctor", "chief", "klunk")
N_TURNS = 14


def scripted_rows(corpus: Corpus) -> list[dict[str, Any]]:
    """Dialogues of two people whose lines alternate, sometimes two of them, and one of three."""
    lines = {
        name: [u.id for u in corpus.filter(speaker=name) if len(u.text.split()) > 2]
        for name in PEOPLE
    }

    def turns(names: Sequence[str], first: int) -> list[dict[str, str]]:
        found = []
        for number in range(N_TURNS):
            name = names[number % len(names)]
            for extra in range(2 if number % 5 == 3 else 1):
                place = (first + 2 * number + extra) % len(lines[name])
                found.append({"utterance": lines[name][place], "speaker": name})
        return found

    casts = [("joe", name) for name in PEOPLE[1:]] + [("joe", "faye", "sparky")]
    return [
        {
            "id": f"played/{number}",
            "kind": "scripted",
            "source": "played",
            "split": "train",
            "language": "en",
            "licence": "see default",
            "turns": turns(names, 3 * number),
        }
        for number, names in enumerate(casts)
    ]


def write_conversations(folder: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """A corpus folder that holds conversations alone."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).write_text("", encoding="utf-8")
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / CONVERSATIONS_NAME).write_text(text, encoding="utf-8")
    return folder
