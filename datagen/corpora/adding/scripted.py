"""Writes the dialogues of a source whose turns are its recordings: as far as they are whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from microturn.datagen.corpora.conversations.parts import DialogueParts, whole_runs
from microturn.datagen.corpora.conversations.record import CONVERSATIONS_NAME
from microturn.datagen.corpora.manifest import Corpus


def write_scripted(
    folder: Path,
    name: str,
    dialogues: Iterable[DialogueParts],
    *,
    corpus: Corpus,
    stored: Mapping[str, str],
) -> dict[str, int]:
    """Write `conversations.jsonl` of a corpus; returns the counts of dialogues and of turns.

    `stored` are the ids of its utterances by those of their recordings. `left_out` counts turns
    that were skipped, belong to one that was, or would put people of both splits together. A source
    without dialogues gets no file and no counts.
    """
    dialogues = list(dialogues)
    if not dialogues:
        return {}
    names = {name for dialogue in dialogues for part in dialogue.parts for name in part}
    utterances = {name: corpus[stored[name]] for name in names if name in stored}
    runs = [run for dialogue in dialogues for run in whole_runs(dialogue, utterances)]
    with (folder / CONVERSATIONS_NAME).open("w", encoding="utf-8") as file:
        for run in runs:
            line = run.conversation(name).to_json()
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    turns = sum(len(run.utterances) for run in runs)
    described = sum(len(part) for dialogue in dialogues for part in dialogue.parts)
    return {"dialogues": len(runs), "turns": turns, "left_out": described - turns}
