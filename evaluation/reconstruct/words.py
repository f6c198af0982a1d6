"""Word errors of resynthesised speech by a recogniser that knows the words of the set.

Pocketsphinx with its own English model hears every word by itself, cut out of the sound, and may
answer with any word of the set. It has no context, and some words are cut short by interruptions:
its errors on the recordings themselves are the floor to compare with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pocketsphinx

from microturn.datagen.corpora.alignment.aligner import prepare
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.pronunciations import pronounce
from microturn.evaluation.reconstruct.reconstruction import VoicePair
from microturn.evaluation.scoring.events import word_errors
from microturn.model.streams.pcm import Audio

_NOISE: Final = 1e-4
_MARGIN_S: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class WordErrors:
    """Words that were mistaken or missed, out of all spoken words."""

    errors: int
    words: int

    @property
    def rate(self) -> float | None:
        return self.errors / self.words if self.words else None


class WordRecogniser:
    """A recogniser of single words out of a vocabulary."""

    def __init__(self, vocabulary: Iterable[str]) -> None:
        words = sorted({word for text in vocabulary for word in words_of(text)})
        if not words:
            raise ValueError("the agent says nothing in this set, so there is nothing to recognise")
        dictionary = Path(pocketsphinx.get_model_path()) / "en-us" / "cmudict-en-us.dict"
        self._decoder = pocketsphinx.Decoder(
            lm=None, loglevel="FATAL", dict=str(dictionary), cmn="batch"
        )
        for word in words:
            if self._decoder.lookup_word(word) is None:
                self._decoder.add_word(word, pronounce(word), True)
        grammar = f"#JSGF V1.0; grammar agent; public <word> = {' | '.join(words)};"
        self._decoder.add_jsgf_string("agent", grammar)
        self._decoder.activate_search("agent")

    def hear(self, audio: Audio, rate: int) -> list[str]:
        """Recognise the word; a list of one, or empty."""
        self._decoder.start_utt()
        self._decoder.process_raw(prepare(audio, rate, noise=_NOISE), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        heard = hypothesis.hypstr.split() if hypothesis else []
        return [re.sub(r"\(\d+\)$", "", word) for word in heard]


def count_errors(
    pairs: Iterable[VoicePair], recogniser: WordRecogniser, *, rate: int
) -> dict[str, WordErrors]:
    """Count the errors in every version of the sound, by name; in words whose times are known."""
    counts: dict[str, list[int]] = {}
    for pair in pairs:
        for spoken in (word for word in pair.words if word.is_known):
            expected = words_of(spoken.text)
            first = max(0, round((spoken.start_s - _MARGIN_S) * rate))
            last = round((spoken.end_s + _MARGIN_S) * rate)
            for name, audio in pair.sounds().items():
                total = counts.setdefault(name, [0, 0])
                total[0] += word_errors(recogniser.hear(audio[first:last], rate), expected)
                total[1] += len(expected)
    return {name: WordErrors(errors=e, words=n) for name, (e, n) in counts.items()}
