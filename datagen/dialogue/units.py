"""Recorded words and phrases, ready to be placed: trimmed, levelled, faded, in many voices.

A unit begins and ends where its energy does, so the times of a timeline are times of sound. Voices
have the names of `labels/voice_names.py`: a perturbed one (`asterisk-en@1.12`) is the recording
resampled and tilted: faster and higher, or slower and lower. Units are kept by each process.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.manifest import Corpus, Utterance
from microturn.datagen.corpora.waveform import fade, level_gain, longest_silence
from microturn.datagen.dialogue.sides import is_on_side, is_pattern
from microturn.datagen.dialogue.strangers import Strangers
from microturn.datagen.dialogue.takes import Takes
from microturn.datagen.dialogue.unit_words import UnitWord, placed_words
from microturn.datagen.dialogue.variants import Variants
from microturn.datagen.labels.voice_names import speed_of, speed_variant, variant_of
from microturn.model.streams import normalise
from microturn.model.streams.pcm import Audio

MUSIC_FADE_S = 0.25
SENTENCE_WORDS = 3
MAX_BREAK_S = 0.1  # between two words of a sentence that is said in one go
SILENT_S = 0.13  # a longer stretch of little sound may pass for a pause
_KEPT_BYTES = 256 * 2**20  # of the sound of units


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
        self._takes = Takes(corpus, config)
        self._units: OrderedDict[tuple[str, str], Unit] = OrderedDict()
        self._kept_bytes = 0
        self._phrases: dict[tuple[tuple[str, ...], str, float], tuple[Phrase, ...]] = {}
        self._lines: dict[tuple[float, float], tuple[Utterance, ...]] = {}
        self._parallel: dict[str, tuple[Phrase, ...]] = {}
        self._fluent: dict[tuple[str, str], bool] = {}
        self._within: dict[str, tuple[Utterance, int] | None] = {}
        self.strangers = Strangers(corpus, config, spelling=canonical)
        self.variants = Variants(config)
        if not self._prompts and not is_pattern(config.voices.agent):
            raise ValueError(
                f"{corpus.folder} has no recordings of voices.agent={config.voices.agent!r}; "
                f"its speakers are {_some(u.speaker for u in corpus)}"
            )

    @property
    def user_voices(self) -> tuple[str, ...]:
        """Voices that users may have in this split, all alike; some stand in it repeatedly."""
        factors = self._voices.train_factors if self.split == "train" else self._voices.test_factors
        trained = tuple(self._voices.user + speed_variant(factor) for factor in factors)
        unseen = tuple(person for person, _ in self.strangers.requests)
        if self._voices.people == "both":  # half of the users are strangers
            return trained * len(unseen) + unseen * len(trained)
        return trained if self._voices.people == "trained" else unseen

    def agent(self, text: str) -> Unit:
        """A word or prompt in the agent's own voice, which is never varied."""
        return self._unit(self._pick(self._prompts, text, "voices.agent"), text, "")

    def user(self, text: str, voice: str) -> Unit:
        """A word in a voice of the user; one that is not recorded alone is cut out of a prompt."""
        variant = variant_of(voice)
        if text not in self._user_prompts:
            found = self._within_prompts(text)
            if found is not None:
                return self.cut(*found, variant)
        return self._unit(self._pick(self._user_prompts, text, "voices.user"), text, variant)

    def cut(self, utterance: Utterance, word: int, variant: str = "") -> Unit:
        """One word of an utterance, cut where there is little sound and faded."""

        def make() -> Unit:
            as_agent = self._is_agent(utterance, variant)
            audio = self._takes.word(utterance, word, variant, as_agent=as_agent)
            text = utterance.words[word].text
            words = (UnitWord(text=text, start_sample=0, end_sample=len(audio)),)
            return _unit_of(utterance, variant, text=text, audio=audio, words=words)

        return self._kept((f"{utterance.id}#{word}", variant), make)

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

    def phrase(self, phrase: Phrase, variant: str = "") -> Unit:
        """A whole recording of another speaker, as it is or varied."""
        return self._unit(phrase.utterance, phrase.text, variant)

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

    def line(self, utterance: Utterance, variant: str = "") -> Unit:
        """A whole line; its transcript is that of the corpus."""
        return self._unit(utterance, normalise(utterance.text), variant)

    def whole(self, utterance: Utterance, variant: str = "", *, as_agent: bool = False) -> Unit:
        """A whole recording that is not kept; `as_agent`: unaltered, at the agent's level."""
        variant = "" if as_agent else variant
        return self._make(utterance, normalise(utterance.text), variant, as_agent=as_agent)

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
        """A word of another language, varied like the voice of the user."""
        return self.line(phrase.utterance, variant_of(voice))

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

    def _unit(self, utterance: Utterance, text: str, variant: str) -> Unit:
        as_agent = self._is_agent(utterance, variant)
        return self._kept(
            (utterance.id, variant), lambda: self._make(utterance, text, variant, as_agent=as_agent)
        )

    def _make(self, utterance: Utterance, text: str, variant: str, *, as_agent: bool) -> Unit:
        audio, first = self._takes.whole(utterance, variant, as_agent=as_agent)
        scale = self.rate / speed_of(variant)
        words = placed_words(utterance, text, first, len(audio), scale)
        return _unit_of(utterance, variant, text=text, audio=audio, words=words)

    def _is_agent(self, utterance: Utterance, variant: str) -> bool:
        return utterance.speaker == self._voices.agent and not variant

    def _kept(self, key: tuple[str, str], make: Callable[[], Unit]) -> Unit:
        """Return a unit from memory, or make it and drop those not used for longest."""
        if key in self._units:
            self._units.move_to_end(key)
            return self._units[key]
        unit = self._units[key] = make()
        self._kept_bytes += unit.audio.nbytes
        while self._kept_bytes > _KEPT_BYTES and len(self._units) > 1:
            self._kept_bytes -= self._units.popitem(last=False)[1].audio.nbytes
        return unit

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


def _unit_of(
    utterance: Utterance, variant: str, *, text: str, audio: Audio, words: tuple[UnitWord, ...]
) -> Unit:
    return Unit(
        source=utterance.id,
        voice=utterance.speaker + variant,
        text=text,
        audio=audio,
        words=words,
        licence=utterance.licence,
    )


def _is_fluent(utterance: Utterance, text: str) -> bool:
    words = utterance.words
    if not all(word.is_known for word in words):
        return False
    gaps = (after.start_s - before.end_s for before, after in zip(words, words[1:], strict=False))
    return SENTENCE_WORDS <= len(words) == len(text.split()) and max(gaps) <= MAX_BREAK_S


def _some(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:8]) + (", ..." if len(unique) > 8 else "")
