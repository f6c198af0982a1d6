"""Word times by forced alignment (pocketsphinx) and by energy; used when a corpus is built.

Alignment says which word is where to about 20 ms; energy then says where a word that stands alone
really begins and ends, and whether it stands alone enough to be cut out and used by itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import numpy.typing as npt
import pocketsphinx

from microturn.datagen.corpora.manifest import Audio, Cut, Word, resample
from microturn.datagen.corpora.pronunciations import pronounce

RATE = 16_000  # of pocketsphinx's en-us model
_PAD = RATE // 5
_FRAME, _HOP = RATE // 100, RATE // 200  # 10 ms windows every 5 ms
_QUIET_DB = 40.0  # below the loudest window: silence
_GUARD = 6  # hops (30 ms) of low energy that isolate a word
_REACH = 30  # hops (150 ms) that an edge may move away from its aligned time
_GOOD_SCORE = -45.0  # mean over phones of the score per frame; 0 is the best sound of all


@dataclass(frozen=True, kw_only=True)
class Aligned:
    """The words with their times, and each word's acoustic score (0 is best, a wrong word gets about -60)."""

    words: tuple[Word, ...]
    scores: tuple[float, ...]

    @property
    def worst(self) -> float:
        return min(self.scores)


class Aligner:
    """Pocketsphinx's en-us model; unknown words get a pronunciation by rule."""

    def __init__(self) -> None:
        dictionary = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
        self._decoder = pocketsphinx.Decoder(lm=None, loglevel="FATAL", dict=str(dictionary))
        self._listener: pocketsphinx.Decoder | None = None

    def align(self, audio: Audio, rate: int, text: str) -> Aligned | None:
        """Times for `text` in `audio`, or None when no path through it was found."""
        spoken = words_of(text)
        if not spoken:
            return None
        for word in spoken:
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, pronounce(word), True)
        self._decoder.set_align_text(" ".join(spoken))
        self._feed(self._decoder, audio, rate)
        if self._decoder.hyp() is None:
            return None
        self._decoder.set_alignment()  # a second pass gives phones, whose scores tell more
        try:
            self._feed(self._decoder, audio, rate)
        except RuntimeError:  # pocketsphinx found no path through the phones
            return None
        return _collect(self._decoder, spoken, len(audio) / rate)

    def recognise(self, audio: Audio, rate: int) -> str:
        """What the free recogniser hears."""
        if self._listener is None:
            self._listener = pocketsphinx.Decoder(loglevel="FATAL")
        self._feed(self._listener, audio, rate)
        hypothesis = self._listener.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _feed(self, decoder: pocketsphinx.Decoder, audio: Audio, rate: int) -> None:
        decoder.start_utt()
        decoder.process_raw(_prepare(audio, rate).tobytes(), full_utt=True)
        decoder.end_utt()


def words_of(text: str) -> list[str]:
    """The words of a transcript as they are aligned and stored: lower case, no punctuation."""
    plain = text.lower().replace("\u2019", "'")
    return [word for word in re.findall(r"[a-z']+", plain) if word.strip("'")]


def _prepare(audio: Audio, rate: int) -> npt.NDArray[np.int16]:
    audio = resample(audio, rate, RATE)
    audio = 0.7 * audio / max(float(np.abs(audio).max(initial=0.0)), 1e-4)
    noise = np.random.default_rng(0).standard_normal(len(audio) + 2 * _PAD) * 1e-4
    noise[_PAD : _PAD + len(audio)] += audio
    return (noise * 32767).astype(np.int16)


def _collect(decoder: pocketsphinx.Decoder, spoken: list[str], duration: float) -> Aligned | None:
    words, scores = [], []
    for item in decoder.get_alignment():
        name = re.sub(r"\(\d+\)$", "", item.name)
        if name.startswith(("<", "[", "(NULL")):
            continue
        start = max(0.0, item.start / 100 - _PAD / RATE)
        end = min(duration, (item.start + item.duration) / 100 - _PAD / RATE)
        if end <= start:
            return None
        words.append(Word(text=name, start=round(start, 3), end=round(end, 3)))
        scores.append(round(mean(phone.score / phone.duration for phone in item), 1))
    if [word.text for word in words] != spoken:
        return None
    return Aligned(words=tuple(words), scores=tuple(scores))


def energy_db(audio: Audio) -> npt.NDArray[np.float64]:
    """Level of 10 ms windows every 5 ms, of 16 kHz audio."""
    padded = np.concatenate([audio.astype(np.float64), np.zeros(_FRAME)])
    power = np.lib.stride_tricks.sliding_window_view(padded**2, _FRAME)[::_HOP].mean(axis=1)
    return 10 * np.log10(power + 1e-12)


def voiced_span(audio: Audio) -> tuple[float, float]:
    """First and last moment (s) of 16 kHz audio within 40 dB of its loudest window."""
    level = energy_db(audio)
    loud = np.flatnonzero(level > level.max() - _QUIET_DB)
    end = min(len(audio), loud[-1] * _HOP + _FRAME)
    return round(float(loud[0]) * _HOP / RATE, 4), round(float(end) / RATE, 4)


def single_cut(audio: Audio, score: float) -> Cut:
    """The cut of a recording that is one word."""
    start, end = voiced_span(audio)
    return Cut(word=0, start=start, end=end, score=score, clean=score >= _GOOD_SCORE)
