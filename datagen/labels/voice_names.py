"""Names of voices: the speaker of the recordings, and how these are varied.

`asterisk-en` is a speaker as recorded, `asterisk-en@1.12` the same played 1.12 times as fast, and
`asterisk-en~p118f1.1t0.95i1.4` the same transformed: pitch in Hz, formants, tempo, intonation.
What follows the speaker, "" or from `@` or `~` on, is the variant. All of them are one person.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = r"\d+(?:\.\d+)?"
_VARIANT = re.compile(
    rf"@(?P<speed>{_NUMBER})"
    rf"|~p(?P<pitch_hz>{_NUMBER})f(?P<formants>{_NUMBER})t(?P<tempo>{_NUMBER})"
    rf"i(?P<intonation>{_NUMBER})"
)


@dataclass(frozen=True, kw_only=True)
class VoiceTransform:
    """What makes another voice of a recording; factors are relative to it."""

    pitch_hz: float  # its median
    formants: float
    tempo: float
    intonation: float

    @property
    def variant(self) -> str:
        return f"~p{self.pitch_hz:g}f{self.formants:g}t{self.tempo:g}i{self.intonation:g}"


def _parts(voice: str) -> tuple[str, re.Match[str] | None]:
    cut = max(voice.rfind("@"), voice.rfind("~"))
    match = _VARIANT.fullmatch(voice, cut) if cut >= 0 else None
    return (voice[:cut], match) if match else (voice, None)


def speaker_of(voice: str) -> str:
    """Return the speaker whose recordings a voice is made of."""
    return _parts(voice)[0]


def variant_of(voice: str) -> str:
    """Return how the recordings are varied, "" if they are not."""
    return voice[len(speaker_of(voice)) :]


def speed_variant(factor: float) -> str:
    """Return the variant of recordings that are played `factor` times as fast."""
    return "" if factor == 1.0 else f"@{factor:g}"


def transform_of(voice: str) -> VoiceTransform | None:
    """Return the transformation of a voice or variant; None for another one."""
    match = _parts(voice)[1]
    if match is None or match["speed"]:
        return None
    names = ("pitch_hz", "formants", "tempo", "intonation")
    return VoiceTransform(**{name: float(match[name]) for name in names})


def resampling_of(voice: str) -> float:
    """Return the factor by which a voice or variant is resampled, 1 for other ones."""
    match = _parts(voice)[1]
    return float(match["speed"]) if match and match["speed"] else 1.0


def speed_of(voice: str) -> float:
    """Return how much faster a voice or variant speaks than its recordings."""
    transform = transform_of(voice)
    return transform.tempo if transform else resampling_of(voice)
