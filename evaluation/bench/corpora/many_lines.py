"""A corpus of any number of utterances, made of the lines of the one that ships."""

from __future__ import annotations

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any, Final

from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, MANIFEST_NAME, Corpus

SHORT_WORDS: Final = 2  # a text of more words is another one in every copy


def write_corpus(folder: Path, n: int) -> None:
    """Write a corpus of `n` utterances, whose sound is that of the corpus that ships.

    Each copy of a line has an id of its own, a speaker of its own unless it is a prompt (which are
    the voices of agent and user), and another text unless it is short, as backchannels are.
    """
    lines = [utterance.to_json() for utterance in Corpus.open()]
    folder.mkdir()
    for tar in sorted({line["tar"] for line in lines}):
        shutil.copy(DEFAULT_FOLDER / tar, folder)
    copies = (_copy(line, copy) for copy in range(-(-n // len(lines))) for line in lines)
    with (folder / MANIFEST_NAME).open("w", encoding="utf-8") as stream:
        for line in islice(copies, n):
            stream.write(json.dumps(line, ensure_ascii=False) + "\n")


def _copy(line: dict[str, Any], copy: int) -> dict[str, Any]:
    if not copy:
        return line
    changed = {**line, "id": f"{line['id']}-{copy}"}
    if "prompt" not in line["tags"]:
        changed["speaker"] = line["speaker"] and f"{line['speaker']}-{copy}"
        if len(line["text"].split()) > SHORT_WORDS:
            changed["text"] = f"{line['text']} {copy}"
    return changed
