"""The agent's voice from a corpus, for recordings that come without a set of the agent's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.home import open_corpora
from microturn.datagen.dialogue.units import Unit, UnitBank
from microturn.evaluation.config import ActivityConfig
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import DialogueSet, HeldOutDialogue
from microturn.evaluation.speech.voice import AgentVoice
from microturn.model.streams import normalise

_MAX_PROMPT_S: Final = 4.0  # the agent says words and short phrases, no announcements


def voice_of(folder: str, activity: ActivityConfig) -> AgentVoice:
    """Return the voice of the recorded agent in a shard set; of the shipped corpus without one."""
    if folder:
        return AgentVoice.of(DialogueSet.open(folder).read(), activity, needed=())
    return AgentVoice.of(_prompts(DatagenConfig(out="")), activity)


def _prompts(config: DatagenConfig) -> Iterator[HeldOutDialogue]:
    """Recordings of the agent's voice, each as a dialogue in which nothing else is said."""
    rate = config.layout.sample_rate
    corpus = open_corpora(config.corpus, sample_rate=rate)
    bank = UnitBank(corpus, config)
    prompts = corpus.filter(speaker=config.voices.agent)
    for utterance in sorted(prompts, key=lambda one: (one.duration_s, one.id)):
        if utterance.duration_s <= _MAX_PROMPT_S and utterance.words:
            yield _as_dialogue(bank.agent(normalise(utterance.text)), rate)


def _as_dialogue(unit: Unit, rate: int) -> HeldOutDialogue:
    return HeldOutDialogue(
        dialogue=Dialogue(
            key=unit.source,
            duration_s=unit.n_samples / rate,
            micro_turn_s=unit.n_samples / rate,
            events=(),
            agent_words=tuple(
                SpokenWord(
                    text=word.text,
                    start_s=word.start_sample / rate,
                    end_s=word.end_sample / rate,
                )
                for word in unit.words
            ),
        ),
        sample_rate=rate,
        load_user=lambda: unit.audio,
        load_agent=lambda: unit.audio,
    )
