"""Marks of transcribers in the words of a conversation: what is said, and what is no word.

The conventions are those of Switchboard (`[laughter-yes]`, `th[at]-`, `about_1`), Fisher
(`((unclear))`), CHAT (`xxx`, `&=laughs`), and speech recognisers (`<unk>`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from microturn.datagen.corpora.alignment.matching import words_of

_SILENT: Final = frozenset(
    ["silence", "sil", "sp", "eps", "pause", "p", "s", "/s", ".", "..", "short pause"]
)
_BARE_SILENT: Final = frozenset(["sil", "sp"])  # without marks, as aligners write them
_MARKED: Final = re.compile(r"[\[<{(]\s*([^\[<{(]*?)\s*[\])>}]")
_REDACTED: Final = re.compile(
    r"[\[<({]+\s*(redacted|pii|beep|bleep|name[-_ ]?redacted|de-?identified|anonymi[sz]ed)"
    r"[^\])>}]*[\])>}]+",
    re.IGNORECASE,
)
_UNCLEAR: Final = re.compile(r"\(\((.*?)\)\)")
_LAUGHED: Final = re.compile(r"\[laughter-([^\]]+)\]", re.IGNORECASE)  # a word said laughing
_TAG: Final = re.compile(r"\[[^\]]*\]|<[^>]*>|\{[^}]*\}|&=\S+|\((?:\.+|pause)\)", re.IGNORECASE)
_NUMBERED: Final = re.compile(r"(?<=\w)_\d+\b")  # pronunciations of a word
_PARTIAL: Final = re.compile(r"(?<!\S)(?:-(?=[\w\[])\S+|[^\s-]\S*-)(?!\S)")  # th-, -bout, th[at]-
_NAMELESS: Final = re.compile(r"(?<!\S)(?:xxx?|yyy|www|@@)(?!\S)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class SpokenText:
    """What an entry of a transcript says."""

    words: tuple[str, ...]  # normalised
    is_certain: bool = True  # False: unclear, or broken off, or no word at all
    is_clear: bool = False  # nothing but noises is left out, so it can be aligned
    is_silent: bool = False  # it stands for a silence
    is_redacted: bool = False


def spoken_text(text: str) -> SpokenText:
    """Read an entry of a transcript, one word or a sentence."""
    if _REDACTED.search(text):
        return SpokenText(words=(), is_certain=False, is_redacted=True)
    mark = _MARKED.fullmatch(text.strip())
    if (mark and mark[1].lower() in _SILENT) or text.strip().lower() in _BARE_SILENT:
        return SpokenText(words=(), is_silent=True)
    rest = _NUMBERED.sub("", _LAUGHED.sub(r"\1", text))
    plain = _PARTIAL.sub(" ", rest)
    plain = _NAMELESS.sub(" ", _TAG.sub(" ", _UNCLEAR.sub(r" \1 ", plain)))
    certain = plain.split() == rest.split()
    if certain and not words_of(plain):  # nothing, or punctuation
        return SpokenText(words=(), is_silent=True)
    words = tuple(words_of(plain))
    is_clear = bool(words) and words == tuple(words_of(_TAG.sub(" ", rest)))
    return SpokenText(words=words, is_certain=certain, is_clear=is_clear and "((" not in text)
