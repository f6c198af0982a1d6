"""Small corpora of conversations, made of the recordings that ship."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME
from microturn.datagen.corpora.manifest import MANIFEST_NAME, Corpus
from microturn.datagen.corpora.utterance import Utterance

PEOPLE = ("joe", "faye", "sparky", "trader-bob", "witch-doctor", "chief", "klunk")
N_TURNS = 14
RATE = 16_000


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


def recorded_rows(
    corpus: Corpus,
    folder: Path,
    *,
    redacted: bool = False,
    words: bool = True,
    third: Sequence[float] = (),
) -> list[dict[str, Any]]:
    """A call of half a minute: two people in turn on two channels, and its sound in the folder.

    Both are silent from 25 s on. A `third` one says a line at each of these times, in s.
    """
    folder.mkdir(parents=True, exist_ok=True)
    channels = np.zeros((30 * RATE, 3 if third else 2), np.float32)
    said: list[list[list[Any]]] = [[], [], []]

    def say(line: Utterance, side: int, at: float) -> None:
        audio = corpus.load(line)
        first = round(at * RATE)
        channels[first : first + len(audio), side] += audio
        said[side] += [
            [w.text, round(at + w.start_s, 3), round(at + w.end_s, 3)] for w in line.words
        ]

    at = 0.4
    for number in range(10):
        side = number % 2
        lines = corpus.filter(speaker=("joe", "faye")[side])
        line = [u for u in lines if 1.5 < u.duration_s < 3.0][number]
        say(line, side, at)
        at += line.duration_s + (0.3 if number % 3 else -0.1)
    short = [u for u in corpus.filter(speaker="sparky") if 1.0 < u.duration_s < 2.0]
    for line, third_at in zip(short, third, strict=False):
        say(line, 2, third_at)
    data = io.BytesIO()
    soundfile.write(data, channels, RATE, format="FLAC", subtype="PCM_16")
    (folder / "calls.tar").write_bytes(data.getvalue())
    side = {"tar": "calls.tar", "member": "call.flac", "offset": 0, "size": len(data.getvalue())}
    side["sample_rate"] = RATE
    people = [
        {
            **side,
            "speaker": f"calls-{name}",
            "channel": number,
            "words": said[number] if words else [],
        }
        for number, name in enumerate("abc"[: channels.shape[1]])
    ]
    return [
        {
            "id": "calls/one",
            "kind": "recorded",
            "source": "calls",
            "split": "train",
            "language": "en",
            "licence": "see default",
            "duration": 30.0,
            "sides": people[:2],
            **({"others": people[2:]} if third else {}),
            **({"redacted": [[8.0, 9.5]]} if redacted else {}),
        }
    ]
