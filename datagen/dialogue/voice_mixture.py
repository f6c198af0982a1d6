"""Who says what a user says into the agent's words: the same mixture of voices for every kind.

A backchannel and a phrase that stops the agent differ in their words. If they also differed in
their voices, a model would need no words. So the voice is drawn first, from the same mixture for
every kind: the user's own, or that of another speaker who has recorded phrases of every kind.
"""

from __future__ import annotations

from functools import cached_property
from typing import Final

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.index.catalogue import Utterances
from microturn.datagen.corpora.index.phrases import Phrases
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.dialogue.units import Unit, UnitBank

MAX_STOP_S: Final = 1.4  # of a recorded phrase that stops the agent
MAX_BACKCHANNEL_S: Final = 1.2  # of a recorded backchannel, where people's timing asks for no less
ASIDE_S: Final = (0.9, 3.5)  # length of a line that is said to somebody else
MIN_ASIDE_WORDS: Final = 3  # shorter lines could be meant for the agent


class VoiceMixture:
    """The voices that phrases are said in, with one probability each for all kinds of phrase."""

    def __init__(self, bank: UnitBank, config: DatagenConfig) -> None:
        self._bank = bank
        vocabulary, said_s = config.vocabulary, config.timing.human.max_backchannel_s
        self._short = bank.phrases(vocabulary.backchannels, longest_s=said_s).by_speaker()
        longest_s = max(said_s, MAX_BACKCHANNEL_S)
        said = bank.phrases(vocabulary.backchannels, longest_s=longest_s)
        self._backchannels = said.by_speaker()
        stops = bank.phrases(vocabulary.stop_phrases, longest_s=MAX_STOP_S)
        self._stops = stops.by_speaker()
        self._asides: dict[str, Utterances] = {}
        meant = (*vocabulary.stop_phrases, *vocabulary.backchannels, *vocabulary.greetings)
        self._meant = {canonical(text) for text in meant}  # for the agent
        self._more_tics = config.scenarios.vocal_tics
        self._own_backchannels = bank.sayable(vocabulary.backchannels)
        self._own_stops = bank.sayable(vocabulary.stop_words)
        self._speakers = tuple(sorted(set(self._short) & set(self._stops)))
        self._edges = _cumulative(
            [min(len(self._short[s]), len(self._stops[s])) for s in self._speakers]
        )
        self.other_share = self._share(config.voices.other_share)

    def _share(self, asked: float) -> float:
        """The share of other speakers: all or none where the user or nobody else has both kinds."""
        if not self._speakers:
            return 0.0
        return asked if self._own_backchannels else 1.0

    def draw(self, rng: np.random.Generator) -> str:
        """Draw who says the next phrase: another speaker, or "" for the user."""
        is_other, place = rng.random() < self.other_share, float(rng.random())
        if not is_other:
            return ""
        return self._speakers[int(np.searchsorted(self._edges, place, side="right"))]

    def backchannel(
        self, rng: np.random.Generator, speaker: str, *, voice: str, short: bool = False
    ) -> Unit:
        """Draw a backchannel of a speaker, as short as people's; `voice` is that of the user."""
        if speaker:
            return self._phrase(rng, (self._short if short else self._backchannels)[speaker])
        if not self._own_backchannels:
            raise ValueError(
                f"nobody in split {self._bank.split!r} says one of vocabulary.backchannels and one "
                "of vocabulary.stop_phrases; set families.user_backchannel=0 and "
                "families.conversation=0 or add a corpus"
            )
        return self._own(rng, self._own_backchannels, voice)

    def stop(
        self,
        rng: np.random.Generator,
        speaker: str,
        *,
        voice: str,
        max_samples: int | None = None,
    ) -> Unit | None:
        """Draw a phrase of a speaker that stops the agent; None if no recording fits."""
        rate = self._bank.rate
        if speaker:
            fitting = self._stops[speaker]
            if max_samples is not None:
                fitting = fitting.where(fitting.seconds * rate <= max_samples)
            return self._phrase(rng, fitting) if fitting else None
        return self._own(rng, self._own_stops, voice) if self._own_stops else None

    def tic(
        self, rng: np.random.Generator, *, into: bool, agent: str, user: str = ""
    ) -> Unit | None:
        """Draw a vocal tic of anybody but the agent; None where nobody has recorded one.

        One said `into` the agent's words is, where possible, of somebody who also stops the agent
        and agrees with it. `user` is a person whose own tics are preferred.
        """
        names = [name for name in self._tics if name != agent]
        if into:
            names = [name for name in names if name in self._speakers] or names
        if user in names:
            names = [user]
        if not names:
            return None
        phrases = self._tics[names[int(rng.integers(len(names)))]]
        phrase = phrases[int(rng.integers(len(phrases)))]
        return self._bank.tic(phrase, self._bank.variants.of_other(rng))

    @cached_property
    def _tics(self) -> dict[str, Phrases]:
        return self._bank.tics(self._more_tics).by_speaker()

    def asides(self, speaker: str) -> Utterances:
        """Lines of a speaker, or of everybody else, that are not meant for the agent."""
        if speaker not in self._asides:
            shortest, longest = ASIDE_S
            lines = self._bank.lines(shortest_s=shortest, longest_s=longest)
            if speaker:
                lines = lines.where(lines.is_one_of("speaker", (speaker,)))
            self._asides[speaker] = lines.where(
                (lines.numbers("text_words") >= MIN_ASIDE_WORDS)
                & ~lines.is_one_of("canonical", self._meant)
            )
        return self._asides[speaker]

    def _own(self, rng: np.random.Generator, texts: tuple[str, ...], voice: str) -> Unit:
        return self._bank.user(texts[int(rng.integers(len(texts)))], voice)

    def _phrase(self, rng: np.random.Generator, phrases: Phrases) -> Unit:
        phrase = phrases[int(rng.integers(len(phrases)))]
        return self._bank.phrase(phrase, self._bank.variants.of_other(rng))


def _cumulative(counts: list[int]) -> np.ndarray:
    """Upper edges of the speakers in [0, 1); the root keeps one of them from being most."""
    weights = np.sqrt(np.array(counts, np.float64))
    return np.cumsum(weights) / max(float(weights.sum()), 1e-9)
