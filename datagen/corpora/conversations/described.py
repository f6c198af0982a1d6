"""The output of conversation adapters: conversations as a corpus describes them, unchecked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from microturn.datagen.corpora.conversations.record import TimeSpan
from microturn.datagen.corpora.recordings import FileSound, Recording
from microturn.datagen.corpora.utterance import STATED, AlignedWord


@dataclass(frozen=True, kw_only=True)
class DescribedSide:
    """One person of a conversation; words may be out of order, or lie outside the recording.

    A segment whose words have no times is one word of several, with times `unknown`. Marks such as
    `[laughter]` or `((unclear))` stand in the text as the corpus writes them.
    """

    speaker: str
    sound: FileSound
    words: tuple[AlignedWord, ...] = ()
    activity: tuple[TimeSpan, ...] = ()  # where there are no words, if the corpus says it
    role: str = ""  # user, agent, or "" for either


@dataclass(frozen=True, kw_only=True)
class DescribedConversation:
    """A recorded conversation (`sides`, and third voices) or a scripted dialogue (`turns`)."""

    id: str
    sides: tuple[DescribedSide, ...] = ()
    others: tuple[DescribedSide, ...] = ()
    turns: tuple[Recording, ...] = ()  # each also becomes an utterance of the manifest
    roles: tuple[str, ...] = ()  # of the turns, if the corpus has them
    split: str = ""  # train, test, any; "": not stated by the corpus
    language: str = ""
    licence: str = ""
    licence_from: str = STATED
    redacted: tuple[TimeSpan, ...] = ()
    instructions: str = ""
    problem: str = ""  # of its entry; the conversation is skipped with this reason


@dataclass(frozen=True, kw_only=True)
class ConversationFormat:
    """A layout of conversation files, and its reader, which streams: no list of all is made."""

    name: str
    sign: str  # the files it is recognised by, for messages
    matches: Callable[[Path], bool]
    read: Callable[[Path, dict[str, str]], Iterator[DescribedConversation]]  # `sides.a`, ...
    named_fields: bool = False  # whether `columns.*` and `sides.*` say what is where
    own_names: bool = False  # speakers are those of our corpora, and get no prefix
