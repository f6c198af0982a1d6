"""Writes the conversations of a corpus: their sound into its tars, and `conversations.jsonl`."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from microturn.datagen.corpora.adding.writer import CorpusWriter
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.checking import SkippedRecording
from microturn.datagen.corpora.conversations.checking.checker import (
    AcceptedConversation,
    ConversationOutcome,
    SkippedConversation,
)
from microturn.datagen.corpora.conversations.checking.storing import StoredFile
from microturn.datagen.corpora.conversations.record import (
    CONVERSATIONS_NAME,
    RECORDED,
    CorpusConversation,
    Side,
)
from microturn.datagen.corpora.utterance import least_certain
from microturn.datagen.labels.time_classes import TIME_CLASSES


@dataclass(kw_only=True)
class ConversationCounts:
    """What `corpus.json` says of the conversations of a corpus."""

    recorded: int = 0
    scripted: int = 0
    seconds: float = 0.0
    sides_with_words: int = 0
    unnamed: int = 0  # sides whose speaker nobody names
    speakers: dict[str, set[str]] = field(default_factory=dict)
    languages: set[str] = field(default_factory=set)
    licences: set[str] = field(default_factory=set)
    licence_origins: set[str] = field(default_factory=set)
    words: Counter[str] = field(default_factory=Counter)
    word_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(TIME_CLASSES, 0.0))

    def add(self, one: CorpusConversation) -> None:
        self.recorded += one.kind == RECORDED
        self.scripted += one.kind != RECORDED
        self.seconds += one.duration_s
        self.speakers.setdefault(one.split, set()).update(one.speakers)
        self.languages |= {one.language} - {""}
        self.licences.add(one.licence)
        self.licence_origins.add(one.licence_from)
        for side in one.sides:
            self.sides_with_words += any(word.is_known for word in side.words)
        for word in (word for side in (*one.sides, *one.others) for word in side.words):
            self.words[word.times] += max(len(words_of(word.text)), 1)
            self.word_s[word.times] += word.end_s - word.start_s

    @property
    def licence_from(self) -> str:
        return least_certain(self.licence_origins)

    def to_json(self) -> dict[str, Any]:
        return {
            "recorded": self.recorded,
            "scripted": self.scripted,
            "hours": round(self.seconds / 3600, 4),
            "sides": 2 * self.recorded,
            "sides_with_word_times": self.sides_with_words,
            "unnamed": self.unnamed,
            "speakers": {split: len(names) for split, names in sorted(self.speakers.items())},
            "word_times": {
                times: {"words": self.words[times], "seconds": round(self.word_s[times], 2)}
                for times in TIME_CLASSES
                if self.words[times]
            },
        }


class ConversationWriter:
    """Writes accepted conversations one by one; equal bytes are stored once."""

    def __init__(self, folder: Path, writer: CorpusWriter) -> None:
        self._writer = writer
        self._file = (folder / CONVERSATIONS_NAME).open("w", encoding="utf-8")
        self._places: dict[str, tuple[str, str, int]] = {}  # tar, member, offset by digest
        self._ids: set[str] = set()
        self._digests: dict[str, str] = {}
        self.counts = ConversationCounts()
        self.mended: Counter[str] = Counter()

    def add(self, outcome: ConversationOutcome) -> None:
        """Store a conversation and its turns, or note why it is skipped."""
        for turn in outcome.turns:
            if not self._writer.find(turn):
                self._writer.add(turn)
        if isinstance(outcome, SkippedConversation):
            self._writer.skipped.append(outcome.skipped)
            return
        conversation = outcome.conversation
        twin = self._digests.setdefault(outcome.digest, conversation.id)
        reason = f"it is the same sound as {twin}" if twin != conversation.id else ""
        if conversation.id in self._ids:
            reason = "its id occurs twice"
        if reason:
            self._drop(outcome.files)
            self._writer.skipped.append(
                SkippedRecording(
                    id=conversation.id.partition("/")[2],
                    place=outcome.place,
                    kind="duplicate",
                    reason=reason,
                )
            )
            return
        self._ids.add(conversation.id)
        self.mended.update(outcome.mended)
        self.counts.unnamed += outcome.unnamed
        self.write(self._placed(outcome))

    def write(self, conversation: CorpusConversation) -> None:
        """Write the line of a conversation whose sound is stored."""
        self.counts.add(conversation)
        self._file.write(json.dumps(conversation.to_json(), ensure_ascii=False) + "\n")

    def _placed(self, outcome: AcceptedConversation) -> CorpusConversation:
        """Return the conversation with the places of its sound, or the ids of its turns."""
        conversation = outcome.conversation
        if outcome.turns:
            stored = [self._writer.find(turn) for turn in outcome.turns]
            turns = (
                replace(turn, utterance=name)
                for turn, name in zip(conversation.turns, stored, strict=True)
            )
            return replace(conversation, turns=tuple(turns))
        places = {number: self._stored(file) for file in outcome.files for number in file.channels}
        people = [
            _with_place(side, *places[number])
            for number, side in enumerate((*conversation.sides, *conversation.others))
        ]
        return replace(conversation, sides=tuple(people[:2]), others=tuple(people[2:]))

    def _stored(self, file: StoredFile) -> tuple[str, str, int]:
        """Put a file into a tar, if its bytes are not there already."""
        if file.digest not in self._places:
            member = f"conversation-{len(self._places):06d}{file.suffix}"
            with file.path.open("rb") as data:
                data.seek(file.offset)
                tar, offset = self._writer.append(member, data, size=file.size)
            self._places[file.digest] = (tar, member, offset)
        self._drop([file])
        return self._places[file.digest]

    @staticmethod
    def _drop(files: list[StoredFile] | tuple[StoredFile, ...]) -> None:
        for file in files:
            if file.is_draft:
                file.path.unlink(missing_ok=True)

    def close(self) -> None:
        self._file.close()


def _with_place(side: Side, tar: str, member: str, offset: int) -> Side:
    return replace(side, tar=tar, member=member, offset=offset)
