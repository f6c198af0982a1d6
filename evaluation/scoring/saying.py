"""Written words against the sound: which of them it says, and what it says without text.

A word counts where the agent wrote it and its sound says it. Sound that no written word explains,
a word of its voice or none, stands among the words in brackets: it is no answer, and an answer
with it is not right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from microturn.evaluation.scoring.activity import Span
from microturn.evaluation.scoring.agent_output import HeardWord, SpokenWord

_EARLY_S = 0.15  # before its token; later than it by the lead of the text
_BROKEN_S = 1.0  # a word may be broken off so shortly before or after a reason
_UNKNOWN = "?"


@dataclass(frozen=True, kw_only=True)
class Saying:
    """The words of one performance."""

    sounds: Mapping[SpokenWord, HeardWord]  # of each written word that is said
    unwritten: tuple[HeardWord, ...]
    n_broken: int  # written words that a reason to break off may have swallowed

    @classmethod
    def of(
        cls,
        written: Sequence[SpokenWord],
        heard: Sequence[HeardWord],
        *,
        lead_s: float,
        breaks_s: Sequence[float],
    ) -> Saying:
        """Match in order; a part of a word counts as the word only near one of `breaks_s`."""
        free = list(heard)
        sounds: dict[SpokenWord, HeardWord] = {}
        n_broken = 0
        for word in sorted(written, key=lambda word: word.start_s):
            sound = next((one for one in free if _says(one, word, lead_s, breaks_s)), None)
            if sound is None:
                n_broken += _near(word.start_s, breaks_s)
                continue
            sounds[word] = sound
            free.remove(sound)
        return cls(sounds=sounds, unwritten=tuple(free), n_broken=n_broken)

    @property
    def words(self) -> list[SpokenWord]:
        """Said words and unwritten sound, by time."""
        return sorted(
            [*self.sounds, *(_bracketed(one) for one in self.unwritten)],
            key=lambda word: word.start_s,
        )

    @property
    def spans(self) -> list[Span]:
        """When the sound says written words."""
        return sorted((sound.start_s, sound.end_s) for sound in self.sounds.values())


def is_written(word: str) -> bool:
    """Whether a word of a performance was written as well as said."""
    return not word.startswith("[")


def _says(sound: HeardWord, word: SpokenWord, lead_s: float, breaks_s: Sequence[float]) -> bool:
    late_s = sound.start_s - word.start_s
    if sound.text != word.text or not -_EARLY_S <= late_s <= lead_s:
        return False
    return sound.share >= 1.0 or _near(sound.end_s, breaks_s)


def _near(moment_s: float, breaks_s: Sequence[float]) -> bool:
    return any(abs(moment_s - break_s) < _BROKEN_S for break_s in breaks_s)


def _bracketed(sound: HeardWord) -> SpokenWord:
    text = f"[{sound.text or _UNKNOWN}]"
    return SpokenWord(text=text, start_s=sound.start_s, end_s=sound.end_s)
