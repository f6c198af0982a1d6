"""Forced alignment by pocketsphinx: word times and acoustic scores, when a corpus is built."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pocketsphinx

from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.manifest import resample
from microturn.datagen.corpora.pronunciations import pronounce, without_marks
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.model.streams.pcm import PCM16_MAX, PCM16_MIN, Audio

RATE = 16_000  # of pocketsphinx's en-us model
UNSCORED = -99.0
_SCALE = 32767  # the shipped alignments were made with it, and with truncation
_PAD = RATE // 5
_NOISES = (1e-4, 3e-4, 1e-3, 3e-3)  # the search fails now and then; more noise may help


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The words with their times, and each word's acoustic score.

    A score is the mean over the word's phones of their score per 10 ms: 0 is the best, words that
    were spoken get -5 to -30, other words about -60. It is `UNSCORED` if the words were aligned
    but their phones were not.
    """

    words: tuple[AlignedWord, ...]
    scores: tuple[float, ...]

    @property
    def mean(self) -> float:
        return mean(self.scores)

    @property
    def worst(self) -> float:
        return min(self.scores)


class Aligner:
    """Pocketsphinx with its en-us model; unknown words get a pronunciation by rule.

    What it says of a recording does not depend on those before: the features of a decoder keep
    a state from one to the next, which moves edges by 10 or 20 ms, so each recording renews them.
    """

    def __init__(self) -> None:
        dictionary = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
        self._decoder = pocketsphinx.Decoder(
            lm=None, loglevel="FATAL", dict=str(dictionary), cmn="batch"
        )
        self._recogniser: pocketsphinx.Decoder | None = None

    def align(self, audio: Audio, rate: int, *, text: str) -> Aligned | None:
        """Align `text` with `audio`; None when the search finds no path."""
        spoken = words_of(text)
        if not spoken:
            return None
        for word in spoken:
            if self._decoder.lookup_word(word) is None:
                known = self._decoder.lookup_word(without_marks(word))
                self._decoder.add_word(word, known or pronounce(word), True)
        self._decoder.reinit_feat()
        unscored = None
        for noise in _NOISES:
            sound = prepare(audio, rate, noise=noise)
            aligned = self._try(sound, spoken, len(audio) / rate)
            if aligned is not None and aligned.worst > UNSCORED:
                return aligned
            unscored = unscored or aligned
        return unscored

    def _try(self, sound: bytes, spoken: list[str], duration_s: float) -> Aligned | None:
        self._decoder.set_align_text(" ".join(spoken))
        _feed(self._decoder, sound)
        if self._decoder.hyp() is None:
            return None
        times = [(item.word, item.start_frame, item.end_frame + 1) for item in self._decoder.seg()]
        unscored = _collect([(*time, UNSCORED) for time in times], spoken, duration_s)
        self._decoder.set_alignment()  # a second pass scores the phones
        try:
            _feed(self._decoder, sound)
        except RuntimeError:  # no path through the phones
            return unscored
        scored = [
            (item.name, item.start, item.start + item.duration, _phone_mean(item))
            for item in self._decoder.get_alignment()
        ]
        return _collect(scored, spoken, duration_s) or unscored

    def prefers(self, audio: Audio, rate: int, *, text: str, others: tuple[str, ...]) -> bool:
        """Tell whether the sound is more likely to be this text than any of the others."""
        sound = prepare(audio, rate, noise=_NOISES[0])
        self._decoder.reinit_feat()
        true = self._likelihood(sound, text)
        return true > 0 and all(
            true >= self._likelihood(sound, other) for other in others if other != text
        )

    def _likelihood(self, sound: bytes, text: str) -> float:
        self._decoder.set_align_text(text)
        _feed(self._decoder, sound)
        hypothesis = self._decoder.hyp()
        return hypothesis.best_score if hypothesis else 0.0

    def recognise(self, audio: Audio, rate: int) -> str:
        """Transcribe freely, without a given text."""
        if self._recogniser is None:
            self._recogniser = pocketsphinx.Decoder(loglevel="FATAL", cmn="batch")
        self._recogniser.reinit_feat()
        _feed(self._recogniser, prepare(audio, rate, noise=_NOISES[0]))
        hypothesis = self._recogniser.hyp()
        return hypothesis.hypstr if hypothesis else ""


def prepare(audio: Audio, rate: int, *, noise: float) -> bytes:
    """Return 16-bit samples for pocketsphinx: 16 kHz, normalised, padded, with a little noise."""
    audio = resample(audio, rate, new_rate=RATE)
    audio = 0.7 * audio / max(float(np.abs(audio).max(initial=0.0)), 1e-4)
    sound = np.random.default_rng(0).standard_normal(len(audio) + 2 * _PAD) * noise
    sound[_PAD : _PAD + len(audio)] += audio
    scaled = np.clip(sound * _SCALE, PCM16_MIN, PCM16_MAX)
    return scaled.astype(np.int16).tobytes()


def _feed(decoder: pocketsphinx.Decoder, sound: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(sound, full_utt=True)
    decoder.end_utt()


def _phone_mean(word: Iterable[Any]) -> float:
    scores = [phone.score / phone.duration for phone in word]
    return mean(scores) if scores else UNSCORED


def _collect(
    items: list[tuple[str, int, int, float]], spoken: list[str], duration_s: float
) -> Aligned | None:
    """Collect (name, first frame, end frame, score); None if these are not the spoken words."""
    words, scores = [], []
    for name, first, last, score in items:
        name = re.sub(r"\(\d+\)$", "", name)
        if name.startswith(("<", "[", "(NULL")):
            continue
        start_s = max(0.0, first / 100 - _PAD / RATE)
        end_s = min(duration_s, last / 100 - _PAD / RATE)
        if end_s <= start_s:
            return None
        words.append(AlignedWord(text=name, start_s=round(start_s, 3), end_s=round(end_s, 3)))
        scores.append(round(score, 1))
    if [word.text for word in words] != spoken:
        return None
    return Aligned(words=tuple(words), scores=tuple(scores))
