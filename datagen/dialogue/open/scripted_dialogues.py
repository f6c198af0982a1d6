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
from microturn.datagen.dialogue.sides import held_out, on_side

AGENT, USER = "agent", "user"  # roles
Place = tuple[int, int, str]  # a dialogue, a part of it, and its agent if known from training


@dataclass(frozen=True, kw_only=True)
class SpeakerTurn:
    """What a person says in one go: one recording or several."""

    speaker: str
    lines: tuple[str, ...]  # ids of recordings


class ScriptedDialogues:
    """The dialogues on the side of a split, by who can be their agent.

    Raises ValueError for a turn whose recording the corpora lack. A dialogue with a turn that the
    split must not use, or that nobody can transcribe, is divided there.

    With `voices.known_agents`, dialogues of the training side are also for the test where somebody
    of training talks only with people who are held out: as their agent.
    """

    def __init__(
        self, speech: OpenSpeech, conversations: Conversations, config: DatagenConfig
    ) -> None:
        self._speech = speech
        self._conversations = conversations
        everything = speech.bank.corpus.utterances
        unseen = config.voices.unseen
        is_clear = (everything.n_words() > 0) & ~everything.is_one_of("text", ("",))
        self._is_usable = is_clear & on_side(everything, config.split, unseen=unseen)
        self._is_known = is_clear & on_side(everything, "train", unseen=unseen)
        self._is_held_out = is_clear & held_out(everything, unseen=unseen)
        by_agent: defaultdict[str, list[Place]] = defaultdict(list)
        for number, row in enumerate(conversations.rows):
            if row.kind != SCRIPTED:
                continue
            dialogue = conversations[number]
            if row.split in (config.split, "any"):
                for part, turns in enumerate(self._parts(dialogue)):
                    for name in _agents_of(turns):
                        if name in speech.agents:
                            by_agent[name].append((number, part, ""))
            for name in sorted(speech.known_agents.keys() & {t.speaker for t in dialogue.turns}):
                for part, turns in enumerate(self._parts(dialogue, known=name)):
                    if name in _agents_of(turns):
                        by_agent[name].append((number, part, name))
        self.by_agent = {name: tuple(found) for name, found in sorted(by_agent.items())}

    def turns(self, place: Place) -> list[SpeakerTurn]:
        """Return the turns of a dialogue, lines of one person that follow one another together."""
        number, part, known = place
        turns = list(self._parts(self._conversations[number], known=known))[part]
        return [
            SpeakerTurn(speaker=speaker, lines=tuple(turn.utterance for turn in of_speaker))
            for speaker, of_speaker in groupby(turns, key=lambda turn: turn.speaker)
        ]

    def _parts(
        self, dialogue: CorpusConversation, *, known: str = ""
    ) -> Iterator[list[ScriptedTurn]]:
        """Yield the longest runs of turns that can be used, if two people speak in them.

        With an agent who is known from training, the others are held out.
        """
        for usable, turns in groupby(
            dialogue.turns, key=lambda turn: self._can_use(turn, dialogue, known=known)
        ):
            run = list(turns)
            if usable and len({turn.speaker for turn in run}) > 1:
                yield run

    def _can_use(self, turn: ScriptedTurn, dialogue: CorpusConversation, *, known: str) -> bool:
        corpus = self._speech.bank.corpus
        catalogue, row = corpus.catalogue, corpus.catalogue.row_of(turn.utterance)
        if row < 0:
            raise ValueError(
                f"the dialogue {dialogue.id!r} names the recording {turn.utterance!r}, which "
                f"is not in {corpus.name}; add its corpus again"
            )
        speaker = catalogue.table("speaker")[catalogue["speaker"][row]]
        usable = self._is_usable
        if known:
            usable = self._is_known if turn.speaker == known else self._is_held_out
        return speaker == turn.speaker and bool(usable[row])


def _agents_of(turns: Sequence[ScriptedTurn]) -> list[str]:
    """Who can be the agent: those of that role, or everybody who is not the user."""
    agents = {turn.speaker for turn in turns if turn.role == AGENT}
    users = {turn.speaker for turn in turns if turn.role == USER}
    return sorted(agents or {turn.speaker for turn in turns} - users)
