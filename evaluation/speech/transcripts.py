"""What pocketsphinx understands of the microphones of a set, to stand beside `heard`.

It hears what the agent hears, stretch by stretch as Silero divides the sound, with its own English
model and no knowledge of the corpus. It takes a fifth of the length of the sound, so the words are
kept in the set's folder, dialogue by dialogue.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from microturn.configs.files import write_atomically
from microturn.configs.reading import MISFITS
from microturn.datagen.executors.run import run_tasks
from microturn.datagen.executors.task import Report, Task
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.speech.endpointer import speech_spans
from microturn.evaluation.speech.recogniser import Hear, english_recogniser, heard_in

NAME: Final = "pocketsphinx.json"
_FORMAT: Final = 1  # bump when the words are found in another way
SILENCE_S: Final = 0.5  # that divides the sound


@dataclass(frozen=True, kw_only=True)
class TranscribeTask:
    """Picklable: loads the recogniser inside a worker process, then dialogues of a set."""

    folder: str

    def __call__(self) -> Task:
        hear, dialogues = english_recogniser(), DialogueSet.open(self.folder)

        def transcribe(number: int) -> Report:
            held_out = dialogues.at(number)
            return {"key": held_out.key, "words": _words(held_out, hear)}

        return transcribe


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
    spans = speech_spans(held_out, silence_s=SILENCE_S)
    heard = heard_in(spans, held_out.load_user(), held_out.sample_rate, hear=hear)
    return [word for words in heard for word in words]
