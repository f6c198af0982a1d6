"""Recorded words and phrases, ready to be placed: trimmed, levelled, faded, in many voices.

A unit begins and ends where its energy does, so the times of a timeline are times of sound. Voices
have the names of `labels/voice_names.py`: a perturbed one (`asterisk-en@1.12`) is the recording
resampled and tilted: faster and higher, or slower and lower. Units are kept by each process.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.index.catalogue import Utterances
from microturn.datagen.corpora.index.phrases import Phrase, Phrases, Prompts
from microturn.datagen.corpora.index.spelling import canonical
from microturn.datagen.corpora.index.tics import tics_among
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.corpora.waveform import longest_silence
from microturn.datagen.dialogue.seeds import rng_for
from microturn.datagen.dialogue.sides import is_pattern, on_side
from microturn.datagen.dialogue.strangers import EvenMix, RequestTake, Strangers
from microturn.datagen.dialogue.takes import Takes
from microturn.datagen.dialogue.unit_words import UnitWord, placed_words
from microturn.datagen.dialogue.variants import Variants
from microturn.datagen.labels.voice_names import speed_of, variant_of
from microturn.model.streams import normalise
from microturn.model.streams.levels import fade, level_gain
from microturn.model.streams.pcm import Audio

MUSIC_FADE_S = 0.25
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
    language: str = ""  # of a recording that no manifest lists

    @property
    def n_samples(self) -> int:
        return len(self.audio)


class UnitBank:
    """Units of a corpus by text and voice, for one split."""

    def __init__(self, corpus: Corpus, config: DatagenConfig) -> None:
        self.corpus = corpus
        self.rate = config.layout.sample_rate
        self.split = config.split
        self._voices = config.voices
        self._prompts = Prompts(corpus.filter(speaker=config.voices.agent))
        self._user_prompts = Prompts(corpus.filter(speaker=config.voices.user))
        self._music = _music_of(corpus.filter(tag="music"), config.split)
        self._takes = Takes(corpus, config)
        self._units: OrderedDict[tuple[str, str], Unit] = OrderedDict()
        self._kept_bytes = 0
        self._phrases: dict[tuple[tuple[str, ...], str, float], Phrases] = {}
        self._lines: dict[tuple[float, float], Utterances] = {}
        self._parallel: dict[str, Phrases] = {}
        self._fluent: dict[tuple[str, str], bool] = {}
        self._within: dict[str, tuple[Utterance, int] | None] = {}
        self.strangers = Strangers(corpus, config)
        self._people = self.strangers.people
        self.variants = Variants(config)
        if not self._prompts and not is_pattern(config.voices.agent):
            _check_talks(corpus, config)

    @property
    def user_voices(self) -> Sequence[str]:
        """Voices that users may have in this split, all alike; some stand in it repeatedly."""
        factors = self._voices.train_factors if self.split == "train" else self._voices.test_factors
        # A factor of 1 is named too: it has a tilt of its own and is not the agent's voice.
        trained = tuple(f"{self._voices.user}@{factor:g}" for factor in factors)
        if self._voices.people == "both":
            return EvenMix(trained, self._people)
        return trained if self._voices.people == "trained" else self._people

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
            audio, *_ = self._takes.words(utterance, word, word, variant, as_agent=as_agent)
            text = utterance.words[word].text
            words = (UnitWord(text=text, start_sample=0, end_sample=len(audio)),)
            return _unit_of(utterance, variant, text=text, audio=audio, words=words)

        return self._kept((f"{utterance.id}#{word}", variant), make)

    def request(self, take: RequestTake, text: str, variant: str) -> Unit:
        """A request of one word, recorded by somebody else."""
        if take.word is not None:
            return self.cut(take.utterance, take.word, variant)
        return self._unit(take.utterance, text, variant)

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
        return self._user_prompts.fluent(shortest_s=shortest_s, longest_s=longest_s)

    def is_fluent(self, unit: Unit) -> bool:
        """Whether no silence inside a unit is as long as a pause."""
        key = (unit.source, unit.voice)
        if key not in self._fluent:
            self._fluent[key] = longest_silence(unit.audio, self.rate) < SILENT_S
        return self._fluent[key]

    def phrase(self, phrase: Phrase, variant: str = "") -> Unit:
        """A recording of another speaker, or words of it, as it is or varied."""
        utterance, spoken = phrase.utterance, phrase.spoken
        if spoken is None:
            return self._unit(utterance, phrase.text, variant)

        def make() -> Unit:
            first, last = spoken
            audio, start, before = self._takes.words(
                utterance, first, last, variant, as_agent=False
            )
            part = replace(utterance, words=utterance.words[first : last + 1])
            scale = self.rate / speed_of(variant)
            before += round(start / self.rate * scale)
            words = placed_words(part, phrase.text, before, len(audio), scale)
            return _unit_of(utterance, variant, text=phrase.text, audio=audio, words=words)

        return self._kept((f"{utterance.id}#{spoken[0]}-{spoken[1]}", variant), make)

    def phrases(
        self, texts: Sequence[str], *, split: str | None = None, longest_s: float = inf
    ) -> Phrases:
        """Recordings of other speakers of this split that say one of these texts and no more.

        They are so long as their recordings; with `voices.cut_phrases` as what sounds in these, and
        words at either end of longer ones are among them.
        """
        key = (tuple(texts), split or self.split, longest_s)
        if key not in self._phrases:
            others, wanted = self._others(key[1]), {canonical(text) for text in texts}
            alone = others.is_one_of("canonical", wanted)
            length_s = others.numbers("duration_s")
            if self._voices.cut_phrases:
                length_s = others.numbers("end_s") - others.numbers("start_s")
            fitting = alone & (length_s <= longest_s)
            said = others.where(fitting)
            found = Phrases(said, said.texts("canonical"), seconds=length_s[fitting].tolist())
            if self._voices.cut_phrases:
                found = found.and_cut(others.where(~alone), wanted, longest_s=longest_s)
            self._phrases[key] = found
        return self._phrases[key]

    def tics(self, more: Sequence[str] = ()) -> Phrases:
        """Vocal tics of other speakers of this split; `more` transcripts as in `tics_among`."""
        everybody = self.corpus.utterances
        others = everybody.where(
            on_side(everybody, self.split, unseen=self._voices.unseen)
            & ~everybody.is_one_of("speaker", (self._voices.agent, self._voices.user))
        )
        return tics_among(others, more=more)

    def tic(self, phrase: Phrase, variant: str = "") -> Unit:
        """A vocal tic of `tics`, with the words that are said in it."""
        unit = self.phrase(phrase, variant)
        return (
            unit if phrase.text else replace(unit, text=normalise(phrase.utterance.text), words=())
        )

    def lines(self, *, shortest_s: float, longest_s: float) -> Utterances:
        """Whole lines of other speakers, for voices in the background."""
        key = (shortest_s, longest_s)
        if key not in self._lines:
            others = self._others(self.split)
            fitting = others.is_between("duration_s", shortest_s, longest_s)
            self._lines[key] = others.where(fitting)
        return self._lines[key]

    def line(self, utterance: Utterance, variant: str = "") -> Unit:
        """A whole line; its transcript is that of the corpus."""
        return self._unit(utterance, normalise(utterance.text), variant)

    def whole(self, utterance: Utterance, variant: str = "", *, as_agent: bool = False) -> Unit:
        """A whole recording that is not kept; `as_agent`: unaltered, at the agent's level."""
        variant = "" if as_agent else variant
        return self._make(utterance, normalise(utterance.text), variant, as_agent=as_agent)

    def parallel(self, language: str) -> Phrases:
        """Recordings in another language of words that the agent can say; `text` is the agent's."""
        if language not in self._parallel:
            mine = self._prompts.text_of_key()
            theirs = self._of_split(language, self.split)
            keys = [key for key in mine if not key.startswith("letters/")]
            said = theirs.where(theirs.is_one_of("key", keys))
            self._parallel[language] = Phrases(said, [mine[key] for key in said.texts("key")])
        return self._parallel[language]

    def foreign(self, phrase: Phrase, voice: str) -> Unit:
        """A word of another language, varied like the voice of the user."""
        return self.line(phrase.utterance, variant_of(voice))

    def music(self) -> Utterances:
        """Pieces of music: one is the test's alone, the others are training's."""
        return self._music

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

    def _of_split(self, language: str, split: str) -> Utterances:
        spoken = self.corpus.filter(language=language)
        return spoken.where(on_side(spoken, split, unseen=self._voices.unseen))

    def _others(self, split: str) -> Utterances:
        spoken = self._of_split("en", split)
        own = spoken.is_one_of("speaker", (self._voices.agent, self._voices.user))
        return spoken.where(~own & (spoken.n_words() > 0) & ~spoken.has("tag", "music"))

    def _pick(self, prompts: Prompts, text: str, key: str) -> Utterance:
        try:
            return prompts[text]
        except KeyError:
            speaker = self._voices.agent if key == "voices.agent" else self._voices.user
            raise ValueError(
                f"{self.corpus.name} has no recording of {text!r} by {key}={speaker!r}; take the "
                "word out of the vocabulary or add a corpus that has it"
            ) from None

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
        if text not in self._within:
            self._within[text] = self._user_prompts.within(text)
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


def _music_of(pieces: Utterances, split: str) -> Utterances:
    if len(pieces) < 2:
        return pieces
    # By the purpose of the test's bed: its piece, and the sound of suites, stay as they were.
    is_held_out = np.arange(len(pieces)) == rng_for(0, 0, "bed/music/test").integers(len(pieces))
    return pieces.where(is_held_out == (split == "test"))


def _check_talks(corpus: Corpus, config: DatagenConfig) -> None:
    """Refuse an agent of whom there are neither recordings nor conversations."""
    people = Conversations.open(config.corpus).people
    if config.voices.agent not in people:
        raise ValueError(
            f"nobody in corpus={config.corpus or 'default'} is "
            f"voices.agent={config.voices.agent!r}; "
            f"its speakers are {_some({*corpus.catalogue.table('speaker'), *people} - {''})}"
        )


def _some(names: Iterable[str]) -> str:
    unique = sorted(set(names))
    return ", ".join(unique[:8]) + (", ..." if len(unique) > 8 else "")
