"""When the words of a unit sound, after its recording was trimmed and varied."""

from __future__ import annotations

from dataclasses import dataclass

from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.utterance import Utterance
from microturn.datagen.labels.time_classes import ALIGNED, UNKNOWN


@dataclass(frozen=True, kw_only=True)
class UnitWord:
    """A word inside a unit, in samples from its start."""

    text: str  # several words where their times are unknown
    start_sample: int
    end_sample: int
    times: str = ALIGNED  # one of TIME_CLASSES


def placed_words(
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
