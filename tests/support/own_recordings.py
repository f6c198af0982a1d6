"""Recordings of four speakers as somebody who records at home has them, made from what ships.

`python -m tests.support.own_recordings FOLDER 60` writes 60 of each, a text beside each sound. All
that these four have are 46 minutes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import soundfile

from microturn.datagen.corpora.manifest import Corpus

SPEAKERS = {"ann": "faye", "ben": "joe", "cem": "trader-bob", "dora": "asterisk-en"}
RATE = 16_000
_SHORTEST_S = 1.0


def write_recordings(folder: Path, n_each: int) -> float:
    """Write `n_each` recordings of each speaker; returns their minutes."""
    corpus, seconds = Corpus.open(sample_rate=RATE), 0.0
    for name, shipped in SPEAKERS.items():
        lines = [u for u in corpus.filter(speaker=shipped) if u.text and u.duration_s > _SHORTEST_S]
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, line in enumerate(lines[:n_each]):
            sound = corpus.load(line)
            seconds += len(sound) / RATE
            stem = folder / name / f"{name}-{number:03d}"
            soundfile.write(stem.with_suffix(".wav"), sound, RATE, subtype="PCM_16")
            stem.with_suffix(".txt").write_text(line.text + "\n", encoding="utf-8")
    return seconds / 60


if __name__ == "__main__":
    print(f"{write_recordings(Path(sys.argv[1]), int(sys.argv[2])):.1f} minutes")
