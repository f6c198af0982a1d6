"""The words that are cut out of recordings to be used by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from microturn.datagen.corpora.cutting import RATE, cut_word
from microturn.datagen.corpora.utterance import AlignedWord, Cut
from microturn.model.streams.pcm import Audio

DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
RIVALS = (*DIGITS, "okay", "hello", "goodbye", "thanks", "sorry", "what")
UNITS = frozenset(
    [
        *RIVALS,
        *("hi", "hey", "bye", "yes", "yeah", "no", "stop", "wait", "please", "right", "sure"),
        *("well", "huh", "oh", "maybe", "exactly", "really", "good", "great", "excellent"),
        *("time", "too", "listen", "look", "never", "now"),
    ]
)


class WordChooser(Protocol):
    """Decides between texts of a recording by acoustic likelihood."""

    def prefers(self, audio: Audio, rate: int, *, text: str, others: tuple[str, ...]) -> bool: ...


def cuts_of(
    audio: Audio,
    words: tuple[AlignedWord, ...],
    *,
    scores: Sequence[float],
    chooser: WordChooser | None,
) -> tuple[Cut, ...]:
    """Cut the words of interest; with a chooser a good cut must also be likelier than its rivals.

    A recording of a single word is cut whatever the word, one without a known time is not.
    """
    cuts = []
    for index, (word, score) in enumerate(zip(words, scores, strict=True)):
        if not word.is_known or (len(words) > 1 and word.text not in UNITS):
            continue
        cut = cut_word(audio, words, index=index, score=score)
        if cut.quality != "poor" and len(words) > 1 and chooser is not None:
            alone = audio[round(cut.start_s * RATE) : round(cut.end_s * RATE)]
            if not chooser.prefers(alone, RATE, text=word.text, others=RIVALS):
                cut = replace(cut, quality="poor")
        cuts.append(cut)
    return tuple(cuts)
