"""pocketsphinx as a listener: with its own English model, or with a list of words.

Both hear one stretch of speech at a time and know nothing of those before.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from microturn.datagen.labels.dialogue import word_list
from microturn.evaluation.scoring.activity import Span
from microturn.model.streams.pcm import Audio

Hear = Callable[[Audio, int], list[str]]  # the words of a sound (T,) at a rate

MARGIN_S: Final = 0.2  # around a stretch of speech
_NOISE: Final = 1e-4  # re full scale: digital silence is none to it
# On 183 words of the shipped English voice 1e-6 makes 7 % errors, the default of 0.65 makes 10 %.
_NEW_WORD: Final = 1e-6
_MAX_VARIANTS: Final = 9  # pronunciations of one word


def english_recogniser() -> Hear:
    """Return pocketsphinx without its later passes, which take four times as long for no gain."""
    import pocketsphinx

    passes = {"fwdflat": False, "bestpath": False, "pl_window": 5}
    return _listener(
        pocketsphinx.Decoder(loglevel="FATAL", cmn="batch", maxhmmpf=3000, maxwpf=10, **passes)
    )


def listed_recogniser(words: Iterable[str]) -> Hear:
    """Return pocketsphinx with a list of words, any of which is as likely after any other.

    Of words that sound alike it knows the first. Raises ValueError for an empty list.
    """
    import pocketsphinx

    by_sound: dict[str, str] = {}
    for word in sorted(set(words)):
        by_sound.setdefault(sound_of(word), word)
    if not by_sound:
        raise ValueError("there is no word to listen for")
    known = sorted(by_sound.values())
    with TemporaryDirectory() as folder:
        dictionary, model = Path(folder) / "words.dict", Path(folder) / "words.arpa"
        dictionary.write_text("".join(_entries(word) for word in known), encoding="utf-8")
        model.write_text(_any_series(known), encoding="utf-8")
        decoder = pocketsphinx.Decoder(
            lm=str(model),
            dict=str(dictionary),
            loglevel="FATAL",
            cmn="batch",
            bestpath=False,
            wip=_NEW_WORD,
        )
    return _listener(decoder)


def heard_in(spans: Sequence[Span], audio: Audio, rate: int, *, hear: Hear) -> list[list[str]]:
    """Return the words of each stretch (start, end in seconds) of a sound (T,)."""
    return [
        hear(audio[max(round((a - MARGIN_S) * rate), 0) : round((b + MARGIN_S) * rate)], rate)
        for a, b in spans
    ]


@cache
def sound_of(word: str) -> str:
    """Return the phones of a word: words that sound alike are one word to a listener."""
    from microturn.datagen.corpora.pronunciations import pronounce

    return _dictionary().lookup_word(word) or pronounce(word)


def _listener(decoder: Any) -> Hear:
    from microturn.datagen.corpora.alignment.aligner import prepare

    def hear(audio: Audio, rate: int) -> list[str]:
        decoder.reinit_feat()  # or it would adapt to what it heard before
        decoder.start_utt()
        decoder.process_raw(prepare(audio, rate, noise=_NOISE), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return list(word_list(re.sub(r"\(\d+\)", "", hypothesis.hypstr))) if hypothesis else []

    return hear


@cache
def _dictionary() -> Any:
    import pocketsphinx

    return pocketsphinx.Decoder(lm=None, loglevel="FATAL")


def _entries(word: str) -> str:
    """Return the lines of a dictionary for a word, with all its pronunciations."""
    lines = [f"{word} {sound_of(word)}"]
    for number in range(2, _MAX_VARIANTS + 1):
        phones = _dictionary().lookup_word(f"{word}({number})")
        if phones:
            lines.append(f"{word}({number}) {phones}")
    return "".join(f"{line}\n" for line in lines)


def _any_series(words: Sequence[str]) -> str:
    """Return a language model (ARPA) in which every word, and the end, is as likely."""
    each = f"{math.log10(1 / (len(words) + 1)):.4f}"
    rows = ["-99.0000 <s> 0.0000", f"{each} </s> 0.0000"]
    rows += [f"{each} {word} 0.0000" for word in words]
    head = ["", "\\data\\", f"ngram 1={len(rows)}", "", "\\1-grams:"]
    return "\n".join([*head, *rows, "", "\\end\\", ""])
