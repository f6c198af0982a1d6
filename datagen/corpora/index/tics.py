"""Vocal tics among recordings: a hesitation or a sound of the body, recorded alone.

Transcripts spell hesitations ("Umm...") and name other sounds in brackets ("(sigh)", "[laughter]",
"<cough>", "{breath}", "*sneeze*"). Both are found by their text, whatever corpus they are in. A
word in brackets is a sound whose name nobody says: it is no word of the transcript.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Final

import numpy as np

from microturn.datagen.corpora.index.catalogue import Utterances
from microturn.datagen.corpora.index.phrases import Phrases

HESITATIONS: Final = frozenset(
    [
        *("um", "uh", "er", "err", "erm", "em", "eh", "ahem", "hem", "ungh", "ugh", "ack"),
        *("ha", "hah", "haha", "heh", "hee", "tee", "teehee", "phew", "whew", "pff", "achoo"),
    ]
)
SOUNDS: Final = frozenset(
    [
        *("cough", "coughs", "coughing", "sneeze", "sneezes", "sneezing", "sniff", "sniffs"),
        *("sniffle", "laugh", "laughs", "laughing", "laughter", "chuckle", "chuckles", "giggle"),
        *("sigh", "sighs", "sighing", "breath", "breathing", "inhale", "exhale", "gasp", "yawn"),
        *("throat", "clears throat", "throat clearing", "clearing throat", "smack", "lip smack"),
        *("lipsmack", "grunt", "groan", "snort", "hiccup", "burp"),
    ]
)
LONGEST_S: Final = 2.5
_MAX_WORDS: Final = 4
_BRACKETED: Final = re.compile(r"\s*[\[(<{*].*[\])>}*][\s.!,]*")


def tics_among(utterances: Utterances, *, more: Collection[str] = ()) -> Phrases:
    """Return the vocal tics, each with the words that are said in it: "" for a sound that has none.

    Hesitations have to be English or of no stated language, as their words are written down. `more`
    are further transcripts of sounds, normalised, with `*` for anything.
    """
    texts = utterances.distinct("canonical")
    spoken = {text for text in texts if _is_hesitation(text)}
    named = {text for text in texts if any(fnmatchcase(text, pattern) for pattern in more)}
    bracketed = (SOUNDS & set(texts)) - named
    short = utterances.numbers("end_s") - utterances.numbers("start_s") <= LONGEST_S
    found = utterances.where(short & utterances.is_one_of("canonical", spoken | named | bracketed))
    kept, words = [], []
    codes = zip(found.texts("canonical"), found.texts("language"), strict=True)
    for place, (text, language) in enumerate(codes):
        if text in named or (text in bracketed and _BRACKETED.fullmatch(found[place].text)):
            said = ""
        elif text in spoken and language in ("en", ""):
            said = text
        else:
            continue
        kept.append(place)
        words.append(said)
    return Phrases(found.at(found.rows[np.array(kept, np.int64)]), words)


def _is_hesitation(text: str) -> bool:
    words = text.split()
    return 0 < len(words) <= _MAX_WORDS and HESITATIONS.issuperset(words)
