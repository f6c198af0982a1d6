"""Dialogues as a source describes them, and the runs of them whose recordings can all be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

from microturn.datagen.corpora.conversations.record import (
    SCRIPTED,
    CorpusConversation,
    ScriptedTurn,
)
from microturn.datagen.corpora.utterance import Utterance


@dataclass(frozen=True, kw_only=True)
class DialogueParts:
    """Recordings in their order, by id; those of one part are of use together only.

    A part is a line with its reply, or what one speaker says in a row.
    """

    id: str
    parts: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class DialogueRun:
    """Successive parts of a dialogue whose recordings are all there and on one side of a split."""

    id: str
    split: str
    utterances: tuple[Utterance, ...]

    def conversation(self, corpus: str) -> CorpusConversation:
        """Return the line of `conversations.jsonl`, with one turn per recording."""
        first = self.utterances[0]
        return CorpusConversation(
            id=f"{corpus}/{self.id}",
            kind=SCRIPTED,
            source=corpus,
            split=self.split,
            language=first.language,
            licence=first.licence,
            licence_from=first.licence_from,
            turns=tuple(ScriptedTurn(utterance=u.id, speaker=u.speaker) for u in self.utterances),
        )


def whole_runs(
    dialogue: DialogueParts, utterances: Mapping[str, Utterance]
) -> Iterator[DialogueRun]:
    """Yield the runs of several speakers; the dialogue breaks at every part that is not whole.

    A recording that is not among the utterances breaks it, and so do two people of different
    splits in one part. The first run has the id of the dialogue, later ones a number.
    """
    number = 0
    for split, parts in groupby(dialogue.parts, lambda part: _split(part, utterances)):
        found = tuple(utterances[name] for part in parts for name in part if split)
        if len({utterance.speaker for utterance in found}) > 1:
            number += 1
            name = dialogue.id if number == 1 else f"{dialogue.id}-{number}"
            yield DialogueRun(id=name, split=split, utterances=found)


def _split(part: tuple[str, ...], utterances: Mapping[str, Utterance]) -> str:
    """Return the split of all recordings of a part; "" where they have none, or not one."""
    splits = {utterances[name].split if name in utterances else "" for name in part}
    return splits.pop() if len(splits) == 1 else ""
