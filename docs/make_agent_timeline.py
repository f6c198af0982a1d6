"""Dialogues in which the background agent takes its time: `python docs/make_agent_timeline.py`.

Recordings that ship ask for a sum and, while the agent works on it, for something else. The demo's
checkpoint answers through `microturn talk`. Writes docs/pictures/agent.webp, prints the times of
that dialogue, and counts in others whether the result was said right.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from microturn.configs.main import main
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.inference.audio import write_wav

DEMO = "runs/demo/checkpoint"
PICTURE = Path(__file__).resolve().parent / "pictures" / "agent.webp"
DIALOGUES = (  # what is asked first and then, and the result of the first
    ("eight plus three", "number seven", "eleven"),
    ("five plus four", "number seven", "nine"),
    ("seven plus two", "monday tomorrow", "nine"),
    ("two plus six", "number four", "eight"),
)
STARTS_S = (1.0, 5.0)
LENGTH_S = 14.0
BETWEEN_S = 0.08  # words
PICTURED_S = 3.4  # of the result after <delegate>: at the end of the second question
DURING_S, AFTER_S = 3.0, 5.4  # in the middle of it, and after its answer


def recording(corpus: Corpus, *questions: str) -> np.ndarray:
    """Compose what the user says, in the voice that the demo knows."""
    rate = corpus.sample_rate
    sound = np.zeros(round(LENGTH_S * rate), np.float32)
    for start_s, question in zip(STARTS_S, questions, strict=True):
        at = round(start_s * rate)
        for word in question.split():
            (spoken, *_) = [u for u in corpus.filter(speaker="asterisk-en") if u.text == word]
            audio = corpus.load(spoken)
            sound[at : at + len(audio)] += audio
            at += len(audio) + round(BETWEEN_S * rate)
    return sound


def answered(sound: np.ndarray, out: Path, *, checkpoint: str, latency_s: float) -> dict[str, Any]:
    """Let the checkpoint answer a recording; returns its `words.json`."""
    out.mkdir()
    write_wav(out / "asked.wav", sound, sample_rate=16_000)
    words = [f"out={out}", f"checkpoint={checkpoint}", f"agent.latency_s={latency_s}"]
    if main(["talk", str(out / "asked.wav"), *words]):
        raise SystemExit(1)
    told: dict[str, Any] = json.loads((out / "words.json").read_text(encoding="utf-8"))
    return told


def run(checkpoint: str) -> None:
    """Draw one dialogue and count the results of all."""
    corpus = Corpus.open(DEFAULT_FOLDER)
    sounds = [recording(corpus, *questions) for *questions, _ in DIALOGUES]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "pictured"
        told = answered(sounds[0], out, checkpoint=checkpoint, latency_s=PICTURED_S)
        Image.open(out / "timeline.png").save(PICTURE, lossless=True, method=6)
        for name in ("heard", "said", "results"):
            print(name, " ".join(f"{word['text']} {word['time_s']:.1f}" for word in told[name]))
        for latency_s in (DURING_S, AFTER_S):
            n_right = 0
            for number, (sound, (_, _, result)) in enumerate(zip(sounds, DIALOGUES, strict=True)):
                out = Path(folder) / f"{latency_s}-{number}"
                told = answered(sound, out, checkpoint=checkpoint, latency_s=latency_s)
                n_right += told["said"][-1]["text"] == result
            print(f"after {latency_s} s: {n_right} of {len(DIALOGUES)} results said right")


if __name__ == "__main__":
    run(*(sys.argv[1:] or [DEMO]))
