"""The Asterisk core prompts: their texts (tables in `asterisk_texts/`), tags and audio."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from microturn.configs.reading import lines_of
from microturn.model.streams.pcm import Audio, from_pcm16

SOUNDS = "usr/share/asterisk/sounds"
MUSIC = "usr/share/asterisk/moh"
_TEXTS = Path(__file__).resolve().parent / "asterisk_texts"


@dataclass(frozen=True, kw_only=True)
class SoundPackage:
    """One package of core sounds: its speaker, folder and licence."""

    speaker: str
    language: str
    folder: str
    licence: str


VOICES = (
    SoundPackage(
        speaker="asterisk-en", language="en", folder="en_US_f_Allison", licence="CC-BY-SA-3.0"
    ),
    SoundPackage(
        speaker="asterisk-es", language="es", folder="es_MX_f_Allison", licence="CC-BY-SA-3.0"
    ),
    SoundPackage(
        speaker="asterisk-fr", language="fr", folder="fr_CA_f_June", licence="CC-BY-SA-3.0"
    ),
    SoundPackage(speaker="asterisk-it", language="it", folder="it_IT_m_Carlo", licence="CC-BY-3.0"),
    SoundPackage(
        speaker="asterisk-ru", language="ru", folder="ru_RU_f_IvrvoiceRU", licence="CC-BY-3.0"
    ),
)

_TAGS = {
    r"digits/\d+|digits/(hundred|thousand|million|billion)": "number",
    r"digits/[0-9]|digits/10": "digit",
    r"digits/h-.*": "ordinal",
    r"digits/day-\d": "day",
    r"digits/mon-\d+": "month",
    r"letters/[a-z]|letters/zed": "letter",
    r"phonetic/.*": "icao",
    r"hello|(vm-)?goodbye|auth-thankyou|privacy-thankyou": "greeting",
}


def texts(language: str) -> dict[str, str]:
    """Return the text of each prompt by its path without suffix."""
    lines = lines_of((_TEXTS / f"{language}.txt").read_text(encoding="utf-8"))
    pairs = (line.partition(": ") for line in lines if not line.startswith("#"))
    return {key: text for key, _, text in pairs}


def tags_of(key: str, text: str) -> frozenset[str]:
    """Tag a prompt by its path and length."""
    tags = {tag for pattern, tag in _TAGS.items() if re.fullmatch(pattern, key)}
    return frozenset(tags | {"prompt", "word" if len(text.split()) == 1 else "phrase"})


def decode_g722(path: Path) -> Audio:
    """Decode a bare G.722 file to mono float32 at 16 kHz."""
    av = import_module(
        "av"
    )  # PyAV: wanted for building a corpus alone, so not among the dependencies
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return from_pcm16(np.concatenate(frames))
