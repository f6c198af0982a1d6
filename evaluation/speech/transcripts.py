"""What pocketsphinx understands of the microphones of a set, to stand beside `heard`.

It hears what the agent hears, stretch by stretch as Silero divides the sound, with its own English
model and no knowledge of the corpus. It takes a fifth of the length of the sound, so the words are
kept in the set's folder, dialogue by dialogue.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.configs.reading import MISFITS
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.datagen.labels.dialogue import word_list
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.speech.endpointer import speech_spans
from microturn.model.streams.pcm import Audio

NAME: Final = "pocketsphinx.json"
_FORMAT: Final = 1  # bump when the words are found in another way
_SILENCE_S: Final = 0.5  # that divides the sound
_MARGIN_S: Final = 0.2  # around a stretch of speech
_NOISE: Final = 1e-4  # re full scale: digital silence is none to it

Hear = Callable[[Audio, int], list[str]]  # the words of a sound (T,) at a rate


@dataclass(frozen=True, kw_only=True)
class TranscribeTask:
    """Picklable: loads the recogniser inside a worker process, then dialogues of a set."""

    folder: str

    def __call__(self) -> Task:
        hear, dialogues = _recogniser(), DialogueSet.open(self.folder)

        def transcribe(number: int) -> Report:
            held_out = dialogues.at(number)
            return {"key": held_out.key, "words": _words(held_out, hear)}

        return transcribe


def _recogniser() -> Hear:
    """Return pocketsphinx without its later passes, which take four times as long for no gain."""
    import pocketsphinx

    from microturn.datagen.corpora.alignment.aligner import prepare

    passes = {"fwdflat": False, "bestpath": False, "pl_window": 5}
    decoder = pocketsphinx.Decoder(
        loglevel="FATAL", cmn="batch", maxhmmpf=3000, maxwpf=10, **passes
    )

    def hear(audio: Audio, rate: int) -> list[str]:
        decoder.reinit_feat()  # or it would adapt to what it heard before
        decoder.start_utt()
        decoder.process_raw(prepare(audio, rate, noise=_NOISE), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return list(word_list(hypothesis.hypstr)) if hypothesis else []

    return hear


def transcripts_of(folder: str, *, n_dialogues: int, workers: int) -> Mapping[str, list[str]]:
    """Return the words of the first dialogues of a set by key; computed once for each dialogue.

    Raises OSError where the folder of the set cannot be written.
    """
    path, dialogues = Path(folder) / NAME, DialogueSet.open(folder)
    made_by = f"{_FORMAT} pocketsphinx {version('pocketsphinx')} silero-vad {version('silero-vad')}"
    header = {"made_by": made_by, "data": dialogues.digest}
    words = _read(path, header)
    missing = [i for i in range(n_dialogues) if dialogues.key(i) not in words]
    workers = min(workers, len(missing))
    executor = "processes" if workers > 1 else "serial"
    task = TranscribeTask(folder=folder)
    for report in run_tasks(task, missing, workers=workers, executor=executor):
        words[report["key"]] = report["words"]
        text = json.dumps({**header, "words": words}, indent=0, sort_keys=True)
        write_atomically(path, text + "\n")
    return words


def _read(path: Path, header: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return what is kept; nothing of another set or another recogniser."""
    if not path.is_file():
        return {}
    with suppress(*MISFITS):  # damaged: they are heard again
        kept = json.loads(path.read_text(encoding="utf-8"))
        if all(kept.get(name) == header[name] for name in header):
            return dict(kept["words"])
    return {}


def _words(held_out: HeldOutDialogue, hear: Hear) -> list[str]:
    audio, rate = held_out.load_user(), held_out.sample_rate
    words: list[str] = []
    for start_s, end_s in speech_spans(held_out, silence_s=_SILENCE_S):
        first = max(round((start_s - _MARGIN_S) * rate), 0)
        words += hear(audio[first : round((end_s + _MARGIN_S) * rate)], rate)
    return words
