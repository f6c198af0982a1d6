"""What scenarios of open speech are made of: whole recordings of many voices."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.dialogue.open.parallel_readings import ParallelReadings
from microturn.datagen.dialogue.open.recorded_conversations import RecordedConversations
from microturn.datagen.dialogue.open.scripted_dialogues import ScriptedDialogues
from microturn.datagen.dialogue.open.speech import OpenSpeech
from microturn.datagen.dialogue.sides import ANYBODY, is_pattern
from microturn.datagen.dialogue.units import UnitBank


class OpenSources:
    """The recordings of a configuration's corpora on the side of its split."""

    def __init__(self, bank: UnitBank, config: DatagenConfig) -> None:
        self.config = config
        self.speech = OpenSpeech(bank, config)

    @cached_property
    def closed_bank(self) -> UnitBank:
        """The recordings of the closed scenarios: of `voices.agent`, or of `voices.user`.

        Raises ValueError if the corpora have no recordings of either.
        """
        bank, voices = self.speech.bank, self.config.voices
        own = not is_pattern(voices.agent) and bank.corpus.filter(speaker=voices.agent)
        if own and not bank.lacking(agent=(self.config.vocabulary.acknowledgement,), user=()):
            return bank
        if not bank.corpus.filter(speaker=voices.user):
            raise ValueError(
                f"scenarios.transplants needs the recordings of voices.user={voices.user!r}, who "
                f"is not in corpus={self.config.corpus or 'default'}; add the one that ships, "
                "corpus=default"
            )
        changed = replace(voices, agent=voices.user)
        return UnitBank(bank.corpus, replace(self.config, voices=changed))

    def of_anybody(self) -> OpenSources:
        """The same where anybody may be the agent."""
        voices = replace(self.config.voices, agent=ANYBODY)
        return OpenSources(self.speech.bank, replace(self.config, voices=voices))

    @cached_property
    def conversations(self) -> Conversations:
        return Conversations.open(self.config.corpus, sample_rate=self.config.layout.sample_rate)

    @cached_property
    def scripted(self) -> ScriptedDialogues:
        return ScriptedDialogues(self.speech, self.conversations, self.config)

    @cached_property
    def parallels(self) -> ParallelReadings:
        return ParallelReadings(self.speech)

    @cached_property
    def recorded(self) -> RecordedConversations:
        return RecordedConversations(self.conversations, self.config)
