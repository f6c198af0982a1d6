"""Recordings of people whom a checkpoint never heard, and sessions in which they are played.

A session has recordings of one person, one after the other, with silence between them: as they
were recorded, at the level of a simulated user. T samples.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from microturn.datagen.config import VoicesConfig
from microturn.datagen.corpora.home import open_corpora
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.splits import share_of
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.dialogue.sides import held_out
from microturn.datagen.labels.dialogue import word_list
from microturn.evaluation.hearing.config import HearingConfig
from microturn.evaluation.hearing.kinds import kind_of
from microturn.evaluation.scoring.agent_output import SpokenWord
from microturn.evaluation.scoring.dialogue import Dialogue
from microturn.evaluation.scoring.dialogue_set import HeldOutDialogue
from microturn.model.streams import StreamLayout
from microturn.model.streams.levels import level_gain
from microturn.model.streams.pcm import Audio

_FLOOR_DB: Final = -75.0  # of the silence, re full scale: microphones are never at zero
_LEAD_S: Final = 1.0  # before the first recording
_MAX_S: Final = 20.0  # of a recording


@dataclass(frozen=True, kw_only=True)
class PlayedRecording:
    """One recording of a session."""

    utterance: Utterance
    words: tuple[str, ...]
    kind: str
    start_s: float  # in its session

    @property
    def end_s(self) -> float:
        return self.start_s + self.utterance.duration_s


@dataclass(frozen=True, kw_only=True)
class PersonSession:
    """Recordings of one person, played one after the other."""

    person: str
    number: int
    recordings: tuple[PlayedRecording, ...]
    duration_s: float
    corpus: Corpus
    layout: StreamLayout

    @cached_property
    def audio(self) -> Audio:
        """The microphone (T,)."""
        rate = self.layout.sample_rate
        rng = np.random.default_rng([self.number, len(self.recordings)])
        level_db = VoicesConfig().user_level_db
        sound = rng.standard_normal(round(self.duration_s * rate)) * 10 ** (_FLOOR_DB / 20)
        for played in self.recordings:
            audio = self.corpus.load(played.utterance)
            first = round(played.start_s * rate)
            gain = level_gain(self.corpus.trimmed(played.utterance), level_db)
            sound[first : first + len(audio)] += gain * audio
        return np.clip(sound, -1.0, 1.0).astype(np.float32)

    def as_dialogue(self) -> HeldOutDialogue:
        """Return the session as a dialogue in which the agent is asked for nothing."""
        words = tuple(
            SpokenWord(text=word, start_s=played.start_s, end_s=played.end_s)
            for played in self.recordings
            for word in played.words
        )
        return HeldOutDialogue(
            dialogue=Dialogue(
                key=f"{self.person}-{self.number}",
                duration_s=self.duration_s,
                micro_turn_s=self.layout.micro_turn_s,
                events=(),
                agent_words=(),
                user_words=words,
                users=frozenset([self.person]),
            ),
            sample_rate=self.layout.sample_rate,
            load_user=lambda: self.audio,
            load_agent=lambda: np.zeros_like(self.audio),
        )

    def divided(self, words: Iterable[tuple[float, str]]) -> list[list[str]]:
        """Return the words of each recording: those of a time from its start to the next one's."""
        starts = [played.start_s for played in self.recordings]
        found: list[list[str]] = [[] for _ in starts]
        for time_s, word in words:
            found[max(int(np.searchsorted(starts, time_s, side="right")) - 1, 0)].append(word)
        return found


def sessions_of(
    config: HearingConfig, layout: StreamLayout, *, heard: Collection[str]
) -> list[PersonSession]:
    """Return the sessions of all people whom the corpora hold out and who are not in `heard`.

    Raises ValueError where the corpora have nobody like that.
    """
    corpus = open_corpora(config.corpus, sample_rate=layout.sample_rate)
    spoken = corpus.filter(language="en")
    spoken = spoken.where(
        held_out(spoken, unseen=VoicesConfig().unseen)
        & ~spoken.is_one_of("speaker", ("", *heard))
        & (spoken.n_words() > 0)
        & ~spoken.has("tag", "music")
        & (spoken.numbers("duration_s") <= _MAX_S)
    )
    by_person: dict[str, list[Utterance]] = {}
    for utterance in spoken:
        by_person.setdefault(utterance.speaker, []).append(utterance)
    sessions: list[PersonSession] = []
    for person, utterances in sorted(by_person.items()):
        chosen = _some_of_each_kind(utterances, config.n_each)
        for number, some in enumerate(_parts(chosen, config)):
            recordings, duration_s = _placed(some, config, layout)
            sessions.append(
                PersonSession(
                    person=person,
                    number=number,
                    recordings=recordings,
                    duration_s=duration_s,
                    corpus=corpus,
                    layout=layout,
                )
            )
    if not sessions:
        raise ValueError(
            f"corpus={config.corpus} holds out nobody whom this checkpoint never heard; name other "
            "corpora (`microturn corpus list`)"
        )
    return sessions


def _some_of_each_kind(utterances: Sequence[Utterance], most: int) -> list[Utterance]:
    """Return at most so many recordings of each kind, in an order that tells nothing."""
    by_kind: dict[str, list[Utterance]] = {}
    for utterance in sorted(utterances, key=lambda one: share_of(one.id)):
        kind = kind_of(word_list(utterance.text))
        if kind is not None:
            by_kind.setdefault(kind, []).append(utterance)
    kept = [one for some in by_kind.values() for one in (some[:most] if most else some)]
    return sorted(kept, key=lambda one: share_of(one.id))


def _parts(utterances: Sequence[Utterance], config: HearingConfig) -> Iterator[list[Utterance]]:
    """Divide the recordings of a person into those of each session."""
    part: list[Utterance] = []
    length_s = 0.0
    for utterance in utterances:
        if part and length_s + utterance.duration_s > config.session_s:
            yield part
            part, length_s = [], 0.0
        part.append(utterance)
        length_s += utterance.duration_s + config.gap_s
    if part:
        yield part


def _placed(
    utterances: Sequence[Utterance], config: HearingConfig, layout: StreamLayout
) -> tuple[tuple[PlayedRecording, ...], float]:
    """Return the recordings on the clock of a session, and its length in whole micro-turns."""
    at_s, placed = _LEAD_S, []
    for utterance in utterances:
        words = word_list(utterance.text)
        kind = kind_of(words)
        assert kind is not None  # _some_of_each_kind left out the others
        placed.append(PlayedRecording(utterance=utterance, words=words, kind=kind, start_s=at_s))
        at_s += utterance.duration_s + config.gap_s
    n_micro_turns = int(np.ceil(at_s / layout.micro_turn_s))
    return tuple(placed), n_micro_turns * layout.micro_turn_s
