"""Pronunciations (ARPAbet) of words missing in pocketsphinx's dictionary, by table or rule."""

from __future__ import annotations

import unicodedata

TABLE = {
    "xray": "EH K S R EY",
    "niner": "N AY N ER",
    "unmute": "AH N M Y UW T",
    "unmuted": "AH N M Y UW T IH D",
    "undelete": "AH N D IH L IY T",
    "undeleted": "AH N D IH L IY T IH D",
    "rerecord": "R IY R IH K AO R D",
    "reenter": "R IY EH N T ER",
    "reentered": "R IY EH N T ER D",
    "prepend": "P R IY P EH N D",
    "prepending": "P R IY P EH N D IH NG",
    "blacklist": "B L AE K L IH S T",
    "blacklisted": "B L AE K L IH S T IH D",
    "keypad": "K IY P AE D",
}
# Longest spelling first; enough for alignment, where only rough sounds and lengths matter.
_RULES = {
    "tion": "SH AH N", "ough": "AO", "augh": "AO", "igh": "AY", "tch": "CH", "sch": "SH",
    "ch": "CH", "sh": "SH", "th": "TH", "ph": "F", "wh": "W", "ck": "K", "ng": "NG", "qu": "K W",
    "ee": "IY", "ea": "IY", "oo": "UW", "ou": "AW", "ow": "AW", "oi": "OY", "oy": "OY",
    "ai": "EY", "ay": "EY", "au": "AO", "aw": "AO", "ie": "IY", "ei": "EY", "ey": "IY",
    "er": "ER", "ir": "ER", "ur": "ER", "ar": "AA R", "or": "AO R",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH",
    "j": "JH", "k": "K", "l": "L", "m": "M", "n": "N", "o": "OW", "p": "P", "q": "K", "r": "R",
    "s": "S", "t": "T", "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip


def without_marks(word: str) -> str:
    """Return a word without accents, as English dictionaries spell most of them."""
    return "".join(sign for sign in unicodedata.normalize("NFD", word) if not _is_mark(sign))


def _is_mark(sign: str) -> bool:
    return unicodedata.category(sign).startswith("M")


def pronounce(word: str) -> str:
    """Return the phones of a word, separated by spaces."""
    word = without_marks(word)
    if word in TABLE:
        return TABLE[word]
    letters = "".join(a for i, a in enumerate(word) if a != "'" and word[i - 1 : i] != a)
    phones, place = [], 0
    while place < len(letters):
        for length in (4, 3, 2, 1):
            piece = letters[place : place + length]
            if len(piece) == length and piece in _RULES:
                phones.append(_RULES[piece])
                break
        place += length
    return " ".join(phones) or "AH"
