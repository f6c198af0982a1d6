"""Scripted dialogues of the corpora: turns in an order, each a recording of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import (
    SCRIPTED,
    CorpusConversation,
    ScriptedTurn,
)
from microturn.datagen.dialogue.open.speech import OpenSpeech
from microturn.datagen.dialogue.sides import on_side

AGENT, USER = "agent", "user"  # roles


@dataclass(frozen=True, kw_only=True)
class SpeakerTurn:
    """What a person says in one go: one recording or several."""

    speaker: str
    lines: tuple[str, ...]  # ids of recordings


class ScriptedDialogues:
    """The dialogues on the side of a split, by who can be their agent.

    Raises ValueError for a turn whose recording the corpora lack. A dialogue with a turn that the
    split must not use, or that nobody can transcribe, is divided there.
    """

    def __init__(
        self, speech: OpenSpeech, conversations: Conversations, config: DatagenConfig
    ) -> None:
        self._speech = speech
        self._conversations = conversations
        everything = speech.bank.corpus.utterances
        self._is_usable = (
            (everything.n_words() > 0)
            & ~everything.is_one_of("text", ("",))
            & on_side(everything, config.split, unseen=config.voices.unseen)
        )
        by_agent: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for number, row in enumerate(conversations.rows):
            if row.kind != SCRIPTED or row.split not in (config.split, "any"):
                continue
            for part, turns in enumerate(self._parts(conversations[number])):
                for name in _agents_of(turns):
                    if name in speech.agents:
                        by_agent[name].append((number, part))
        self.by_agent = {name: tuple(found) for name, found in sorted(by_agent.items())}

    def turns(self, place: tuple[int, int]) -> list[SpeakerTurn]:
        """Return the turns of a dialogue, lines of one person that follow one another together."""
        number, part = place
        turns = list(self._parts(self._conversations[number]))[part]
        return [
            SpeakerTurn(speaker=speaker, lines=tuple(turn.utterance for turn in of_speaker))
            for speaker, of_speaker in groupby(turns, key=lambda turn: turn.speaker)
        ]

    def _parts(self, dialogue: CorpusConversation) -> Iterator[list[ScriptedTurn]]:
        """Yield the longest runs of turns that can be used, if two people speak in them."""
        for usable, turns in groupby(
            dialogue.turns, key=lambda turn: self._can_use(turn, dialogue)
        ):
            run = list(turns)
            if usable and len({turn.speaker for turn in run}) > 1:
                yield run

    def _can_use(self, turn: ScriptedTurn, dialogue: CorpusConversation) -> bool:
        corpus = self._speech.bank.corpus
        catalogue, row = corpus.catalogue, corpus.catalogue.row_of(turn.utterance)
        if row < 0:
            raise ValueError(
                f"the dialogue {dialogue.id!r} names the recording {turn.utterance!r}, which "
                f"is not in {corpus.name}; add its corpus again"
            )
        speaker = catalogue.table("speaker")[catalogue["speaker"][row]]
        return speaker == turn.speaker and bool(self._is_usable[row])


def _agents_of(turns: Sequence[ScriptedTurn]) -> list[str]:
    """Who can be the agent: those of that role, or everybody who is not the user."""
    agents = {turn.speaker for turn in turns if turn.role == AGENT}
    users = {turn.speaker for turn in turns if turn.role == USER}
    return sorted(agents or {turn.speaker for turn in turns} - users)
