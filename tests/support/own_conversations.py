"""Recorded conversations as somebody has them on disk, made from what ships.

`python -m tests.support.own_conversations FOLDER` writes eight of them: four pairs of people, each
of whom is another speaker of the shipped recordings and talks twice. A session has a folder of its
own, with a sound file for each person and a transcript with word times.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance

PAIRS = (
    ("ann", "princess-azura", "ben", "joe"),
    ("cem", "trader-bob", "dora", "faye"),
    ("eva", "naomi", "finn", "sparky"),
    ("gus", "witch-doctor", "hana", "chief"),
)
SESSIONS = 2  # of each pair
DURATION_S = 60.0
RATE = 16_000
LISTENING = ("yeah", "okay", "uh huh", "oh", "yes")
_LINE_S = (0.8, 6.0)
_SEED = 5


@dataclass(kw_only=True)
class _Voice:
    """One person: lines that were not said yet, and what they say while they listen."""

    lines: list[Utterance]
    listening: list[Utterance]
    sounds: list[tuple[float, Utterance]] = field(default_factory=list)  # start, line

    @staticmethod
    def of(corpus: Corpus, speaker: str) -> _Voice:
        known = [u for u in corpus.filter(speaker=speaker) if all(w.is_known for w in u.words)]
        short, long = _LINE_S
        return _Voice(
            lines=[u for u in known if len(u.words) > 2 and short < u.duration_s < long],
            listening=[u for u in known if u.text.lower().strip(" .!?,") in LISTENING],
        )

    @property
    def free_s(self) -> float:
        return max((at_s + line.words[-1].end_s for at_s, line in self.sounds), default=0.0)

    def say(self, at_s: float, line: Utterance) -> float:
        """Let the first word of a line begin; returns when the last one ends."""
        self.sounds.append((at_s - line.words[0].start_s, line))
        return self.free_s


def write_conversations(folder: Path) -> int:
    """Write all sessions; returns their number."""
    corpus = Corpus.open(sample_rate=RATE)
    for number, (left, left_voice, right, right_voice) in enumerate(PAIRS):
        voices = [_Voice.of(corpus, name) for name in (left_voice, right_voice)]
        for session in range(SESSIONS):
            rng = np.random.default_rng((_SEED, number, session))
            for voice in voices:
                voice.sounds.clear()
            _talk(voices, rng)
            _write(folder / f"{left}-{right}-{session + 1}", corpus, voices, (left, right))
    return SESSIONS * len(PAIRS)


def _talk(voices: Sequence[_Voice], rng: np.random.Generator) -> None:
    """Let two people take turns: gaps, overlaps and pauses of log-normal lengths."""

    def drawn(median_s: float, *, at_most: float) -> float:
        return float(min(median_s * np.exp(0.4 * rng.standard_normal()), at_most))

    side, at_s = 0, 0.5
    while True:
        one, other = voices[side], voices[1 - side]
        for number in range(1 + (rng.random() < 0.4)):
            at_s = max(at_s + number * drawn(0.5, at_most=1.5), one.free_s + 0.25)
            line = one.lines.pop(0)
            if at_s + line.duration_s > DURATION_S - 1:
                return
            can_listen = at_s - other.free_s > 0.7 and line.duration_s > 2.5
            if can_listen and rng.random() < 0.5:
                other.say(at_s + 0.8, other.listening[int(rng.integers(len(other.listening)))])
            at_s = one.say(at_s, line)
        gap_s, overlap_s = drawn(0.25, at_most=1.2), drawn(0.3, at_most=line.duration_s / 2)
        at_s += gap_s if rng.random() < 0.5 else -overlap_s
        side = 1 - side


def _write(folder: Path, corpus: Corpus, voices: Sequence[_Voice], names: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    channels = np.zeros((round(DURATION_S * RATE), 2), np.float32)
    segments: list[dict[str, Any]] = []
    for side, voice in enumerate(voices):
        for at_s, line in voice.sounds:
            sound, first = corpus.load(line), round(at_s * RATE)
            channels[first : first + len(sound), side] += sound
            words = [
                {
                    "word": w.text,
                    "start": round(at_s + w.start_s, 3),
                    "end": round(at_s + w.end_s, 3),
                }
                for w in line.words
            ]
            segments.append(
                {
                    "speaker": names[side],
                    "start": round(at_s, 3),
                    "end": round(at_s + line.duration_s, 3),
                    "text": line.text,
                    "words": words,
                }
            )
    segments.sort(key=lambda segment: segment["start"])
    for side, name in enumerate(names):
        soundfile.write(folder / f"{name}.wav", channels[:, side], RATE, subtype="PCM_16")
    text = json.dumps({"segments": segments}, indent=1, ensure_ascii=False)
    (folder / "talk.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print(f"{write_conversations(Path(sys.argv[1]))} sessions")
