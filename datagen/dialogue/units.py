"""Recorded words and phrases, ready to be placed: trimmed, levelled, faded, in many voices.

A unit begins and ends where its energy does, so the times of a timeline are times of sound. A
perturbed voice (`asterisk-en@1.12`) is the recording resampled and tilted: faster and higher, or
slower and lower. Everything is computed once per process and kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.manifest import Corpus, Utterance
from microturn.datagen.corpora.waveform import (
    energy_edges,
    fade,
    level_gain,
    longest_silence,
    perturb,
    quietest_near,
)
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.dialogue.sides import is_on_side, is_pattern
from microturn.datagen.dialogue.strangers import Strangers
from microturn.datagen.labels.time_classes import ALIGNED, UNKNOWN
from microturn.model.streams import normalise
from microturn.model.streams.pcm import Audio

FADE_S = 0.004  # of the agent's words
USER_FADE_S = 0.015  # of all others, also cut out of connected speech: an edge tells nothing
MUSIC_FADE_S = 0.25
SENTENCE_WORDS = 3
MAX_BREAK_S = 0.1  # between two words of a sentence that is said in one go
SILENT_S = 0.13  # a longer stretch of little sound may pass for a pause


@dataclass(frozen=True, kw_only=True)
class UnitWord:
    """A word inside a unit, in samples from its start."""

    text: str  # several words where their times are unknown
    start_sample: int
    end_sample: int
    times: str = ALIGNED  # one of TIME_CLASSES


@dataclass(frozen=True, kw_only=True, eq=False)
class Unit:
    """A recorded word or phrase in one voice."""

    source: str  # id of the utterance
    voice: str
    text: str
    audio: Audio
    words: tuple[UnitWord, ...]
    licence: str

    @property
    def n_samples(self) -> int:
        return len(self.audio)


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """A whole recording that says one of the phrases asked for."""

    utterance: Utterance
    text: str


def canonical(text: str) -> str:
    """Normalised text with one spelling for sounds that transcripts spell in many ways."""
    text = re.sub(r"\b(?:h+m+|m+h*m+)\b", "hmm", normalise(text))
    text = re.sub(r"\bu+h*m+\b", "um", text)
    return re.sub(r"\ba+h+\b", "ah", re.sub(r"\bo+h+\b", "oh", text))


class UnitBank:
    """Units of a corpus by text and voice, for one split."""

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        self.corpus = corpus
        self.rate = config.layout.sample_rate
        self.split = config.split
        self._voices = config.voices
        self._prompts = self._by_text(corpus.filter(speaker=config.voices.agent))
        self._user_prompts = self._by_text(corpus.filter(speaker=config.voices.user))
        self._units: dict[tuple[str, str], Unit] = {}
        self._phrases: dict[tuple[tuple[str, ...], str, float], tuple[Phrase, ...]] = {}
        self._lines: dict[tuple[float, float], tuple[Utterance, ...]] = {}
        self._parallel: dict[str, tuple[Phrase, ...]] = {}
        self._fluent: dict[tuple[str, str], bool] = {}
        self._within: dict[str, tuple[Utterance, int] | None] = {}
        self.strangers = Strangers(corpus, config, spelling=canonical)
        if not self._prompts and not is_pattern(config.voices.agent):
            raise ValueError(
                f"{corpus.folder} has no recordings of voices.agent={config.voices.agent!r}; "
                f"its speakers are {_some(u.speaker for u in corpus)}"
            )

    @property
    def user_voices(self) -> tuple[str, ...]:
        """Voices that users may have in this split, all alike; some stand in it repeatedly."""
        factors = self._voices.train_factors if self.split == "train" else self._voices.test_factors
        trained = tuple(f"{self._voices.user}@{factor:g}" for factor in factors)
        unseen = tuple(person for person, _ in self.strangers.requests)
        if self._voices.people == "both":  # half of the users are strangers
            return trained * len(unseen) + unseen * len(trained)
        return trained if self._voices.people == "trained" else unseen

    def agent(self, text: str) -> Unit:
        """A word or prompt in the agent's own voice."""
        return self._unit(self._pick(self._prompts, text, "voices.agent"), text, "")

    def user(self, text: str, voice: str) -> Unit:
        """A word in a perturbed voice; one that is not recorded alone is cut out of a prompt."""
        factor = voice.rpartition("@")[2]
        if text not in self._user_prompts:
            found = self._within_prompts(text)
            if found is not None:
                return self.cut(*found, float(factor))
        return self._unit(self._pick(self._user_prompts, text, "voices.user"), text, factor)

    def cut(self, utterance: Utterance, word: int, factor: float = 1.0) -> Unit:
        """One word of an utterance, cut where there is little sound and faded."""
        key = (f"{utterance.id}#{word}", "" if factor == 1.0 else f"{factor:g}")
        if key not in self._units:
            self._units[key] = self._make_cut(utterance, word, key)
        return self._units[key]

    def lacking(self, *, agent: Iterable[str], user: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the words without a recording by the voice that should have one."""
        texts = tuple(user)
        sayable = set(self.sayable(texts))
        missing = {
            f"voices.agent={self._voices.agent!r}": [t for t in agent if t not in self._prompts],
            f"voices.user={self._voices.user!r}": [text for text in texts if text not in sayable],
        }
        return {voice: tuple(dict.fromkeys(words)) for voice, words in missing.items() if words}

    def recorded(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Those of the texts that users can say in their own voice."""
        return tuple(text for text in texts if text in self._user_prompts)

    def sayable(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Those of the texts that `user` has, single words within prompts included."""
        return tuple(
            text
            for text in texts
            if text in self._user_prompts or self._within_prompts(text) is not None
        )

    def sentences(self, *, shortest_s: float, longest_s: float) -> tuple[str, ...]:
        """Prompts of several words, without a break inside, that users can say in their voice."""
        return tuple(
            text
            for text, utterance in self._user_prompts.items()
            if shortest_s <= utterance.duration_s <= longest_s and _is_fluent(utterance, text)
        )

    def is_fluent(self, unit: Unit) -> bool:
        """Whether no silence inside a unit is as long as a pause."""
        key = (unit.source, unit.voice)
        if key not in self._fluent:
            self._fluent[key] = longest_silence(unit.audio, self.rate) < SILENT_S
        return self._fluent[key]

    @property
    def phrase_factors(self) -> tuple[float, ...]:
        """Factors by which recordings of other speakers are varied in this split."""
        return self._voices.phrase_factors if self.split == "train" else (1.0,)

    def phrase(self, phrase: Phrase, factor: float = 1.0) -> Unit:
        """A whole recording, as it is or perturbed, in its own speaker's voice."""
        return self._unit(phrase.utterance, phrase.text, "" if factor == 1.0 else f"{factor:g}")

    def phrases(
        self, texts: Sequence[str], *, split: str | None = None, longest_s: float = inf
    ) -> tuple[Phrase, ...]:
        """Recordings of other speakers of this split that say one of these texts and no more."""
        key = (tuple(texts), split or self.split, longest_s)
        if key not in self._phrases:
            wanted = {canonical(text) for text in texts}
            said = ((u, canonical(u.text)) for u in self._others(key[1]))
            self._phrases[key] = tuple(
                Phrase(utterance=utterance, text=text)
                for utterance, text in said
                if text in wanted and utterance.duration_s <= longest_s
            )
        return self._phrases[key]

    def lines(self, *, shortest_s: float, longest_s: float) -> tuple[Utterance, ...]:
        """Whole lines of other speakers, for voices in the background."""
        key = (shortest_s, longest_s)
        if key not in self._lines:
            self._lines[key] = tuple(
                utterance
                for utterance in self._others(self.split)
                if shortest_s <= utterance.duration_s <= longest_s
            )
        return self._lines[key]

    def line(self, utterance: Utterance, factor: float = 1.0) -> Unit:
        """A whole line; its transcript is that of the corpus."""
        phrase = Phrase(utterance=utterance, text=normalise(utterance.text))
        return self.phrase(phrase, factor)

    def whole(self, utterance: Utterance, factor: float = 1.0, *, as_agent: bool = False) -> Unit:
        """A whole recording that is not kept; `as_agent`: unaltered, at the agent's level."""
        name = "" if as_agent or factor == 1.0 else f"{factor:g}"
        return self._make(utterance, normalise(utterance.text), name, as_agent=as_agent)

    def parallel(self, language: str) -> tuple[Phrase, ...]:
        """Recordings in another language of words that the agent can say; `text` is the agent's."""
        if language not in self._parallel:
            mine = {u.key: text for text, u in self._prompts.items() if u.key and " " not in text}
            self._parallel[language] = tuple(
                Phrase(utterance=utterance, text=mine[utterance.key])
                for utterance in self._of_split(language, self.split)
                if utterance.key in mine and not utterance.key.startswith("letters/")
            )
        return self._parallel[language]

    def foreign(self, phrase: Phrase, voice: str) -> Unit:
        """A word of another language, perturbed like the voice of the user."""
        factor = voice.rpartition("@")[2]
        return self._unit(phrase.utterance, normalise(phrase.utterance.text), factor)

    def music(self) -> tuple[Utterance, ...]:
        return self.corpus.filter(tag="music")

    def music_from(self, utterance: Utterance, start: float, n: int) -> Unit:
        """`n` samples of a piece from a relative place on, faded in and out."""
        audio = self.corpus.load(utterance)
        first = round(start * max(len(audio) - n, 0))
        piece = np.resize(audio[first : first + n], n).astype(np.float32)
        piece *= level_gain(piece, self._voices.user_level_db)
        fade(piece, round(MUSIC_FADE_S * self.rate))
        return Unit(
            source=utterance.id,
            voice="",
            text="",
            audio=piece,
            words=(),
            licence=utterance.licence,
        )

    def _of_split(self, language: str, split: str) -> list[Utterance]:
        return [
            utterance
            for utterance in self.corpus.filter(language=language)
            if is_on_side(utterance, split, unseen=self._voices.unseen)
        ]

    def _others(self, split: str) -> list[Utterance]:
        own = {self._voices.agent, self._voices.user}
        return [
            utterance
            for utterance in self._of_split("en", split)
            if utterance.speaker not in own and utterance.words and "music" not in utterance.tags
        ]

    def _pick(self, prompts: dict[str, Utterance], text: str, key: str) -> Utterance:
        try:
            return prompts[text]
        except KeyError:
            speaker = self._voices.agent if key == "voices.agent" else self._voices.user
            raise ValueError(
                f"{self.corpus.folder} has no recording of {text!r} by {key}={speaker!r}; take the "
                "word out of the vocabulary or add a corpus that has it"
            ) from None

    @staticmethod
    def _by_text(utterances: Iterable[Utterance]) -> dict[str, Utterance]:
        found: dict[str, Utterance] = {}
        for utterance in sorted(utterances, key=lambda item: item.id):
            found.setdefault(normalise(utterance.text), utterance)
        return found

    def _unit(self, utterance: Utterance, text: str, factor: str) -> Unit:
        key = (utterance.id, factor)
        if key not in self._units:
            is_agent = utterance.speaker == self._voices.agent and not factor
            self._units[key] = self._make(utterance, text, factor, as_agent=is_agent)
        return self._units[key]

    def _within_prompts(self, text: str) -> tuple[Utterance, int] | None:
        """Where the user's speaker says a word within a prompt: the shortest that has it."""
        if text not in self._within:
            places = [
                (utterance.duration_s, utterance.id, utterance, index)
                for utterance in self._user_prompts.values()
                for index, word in enumerate(utterance.words)
                if word.text == text and word.is_known
            ]
            best = min(places, key=lambda place: place[:2], default=None)
            self._within[text] = None if best is None else (best[2], best[3])
        return self._within[text]

    def _make_cut(self, utterance: Utterance, word: int, key: tuple[str, str]) -> Unit:
        audio = self.corpus.load(utterance)
        spoken = utterance.cut(word) or utterance.words[word]
        start, end = (
            quietest_near(audio, round(edge_s * self.rate), rate=self.rate)
            for edge_s in (spoken.start_s, spoken.end_s)
        )
        text, factor = utterance.words[word].text, key[1]
        is_agent = utterance.speaker == self._voices.agent and not factor
        piece, _ = self._levelled(audio[start:end], factor, as_agent=is_agent)
        return Unit(
            source=utterance.id,
            voice=f"{utterance.speaker}@{factor}" if factor else utterance.speaker,
            text=text,
            audio=piece,
            words=(UnitWord(text=text, start_sample=0, end_sample=len(piece)),),
            licence=utterance.licence,
        )

    def _levelled(self, audio: Audio, factor: str, *, as_agent: bool) -> tuple[Audio, int]:
        """Sound in its voice: perturbed, trimmed, levelled, faded; and what was cut before it."""
        if factor:
            audio = perturb(audio, float(factor), tilt=_tilt(factor, self._voices.tilt))
        start, end = energy_edges(audio, self.rate, threshold_db=self._voices.trim_db)
        trimmed = audio[start:end].copy()
        level = self._voices.agent_level_db if as_agent else self._voices.user_level_db
        trimmed *= level_gain(trimmed, level)
        fade(trimmed, round((FADE_S if as_agent else USER_FADE_S) * self.rate))
        trimmed.setflags(write=False)
        return trimmed, start

    def _make(self, utterance: Utterance, text: str, factor: str, *, as_agent: bool) -> Unit:
        audio = self.corpus.load(utterance)
        trimmed, start = self._levelled(audio, factor, as_agent=as_agent)
        scale = self.rate / (float(factor) if factor else 1.0)
        words = _words_of(utterance, text, start, len(trimmed), scale)
        voice = f"{utterance.speaker}@{factor}" if factor else utterance.speaker
        return Unit(
            source=utterance.id,
            voice=voice,
            text=text,
            audio=trimmed,
            words=words,
            licence=utterance.licence,
        )


@lru_cache
def _tilt(factor: str, largest: float) -> float:
    """Every perturbed voice has its own colour, always the same."""
    return float(rng_for(0, 0, f"tilt/{factor}").uniform(-largest, largest))


def _words_of(
    utterance: Utterance, text: str, start: int, n: int, scale: float
) -> tuple[UnitWord, ...]:
    """Word times after trimming; the first word begins and the last ends where the unit does."""
    texts = _split_like(utterance, text)
    if len(texts) != len(utterance.words):  # the recording's words are not those of its text
        times = ALIGNED if " " not in text else UNKNOWN
        return (UnitWord(text=text, start_sample=0, end_sample=n, times=times),)
    inner = [round(word.start_s * scale) - start for word in utterance.words[1:]]
    edges = [0, *inner, n]
    for i in range(1, len(edges) - 1):
        edges[i] = min(max(edges[i], edges[i - 1] + 1), n - (len(edges) - 1 - i))
    aligned = [round(word.end_s * scale) - start for word in utterance.words[:-1]]
    pairs = zip(aligned, edges[1:-1], edges[:-2], strict=True)
    ends = [*(min(max(end, first + 1), nxt) for end, nxt, first in pairs), n]
    return tuple(
        UnitWord(text=word, start_sample=edges[i], end_sample=ends[i], times=known.times)
        for i, (word, known) in enumerate(zip(texts, utterance.words, strict=True))
    )


def _split_like(utterance: Utterance, text: str) -> list[str]:
    """Divide a text among the words of its recording; words of unknown times stay together."""
    texts = words_of(text)
    parts: list[str] = []
    for word in utterance.words:
        n = len(words_of(word.text))
        parts.append(" ".join(texts[:n]))
        texts = texts[n:]
    return parts if all(parts) and not texts else [text]


def _is_fluent(utterance: Utterance, text: str) -> bool:
    words = utterance.words
    if not all(word.is_known for word in words):
        return False
    gaps = (after.start_s - before.end_s for before, after in zip(words, words[1:], strict=False))
    return SENTENCE_WORDS <= len(words) == len(text.split()) and max(gaps) <= MAX_BREAK_S


def _some(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:8]) + (", ..." if len(unique) > 8 else "")
