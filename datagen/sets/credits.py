"""Whose recordings are in a set, under which licences: whom a model trained on it has to name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, order=True, kw_only=True)
class Credit:
    """A speaker, a language, the licence of the recordings, and how their authors are named."""

    licence: str
    attribution: str  # "": the corpus gives none
    language: str
    speaker: str


def credits_to_json(credits: Iterable[Credit]) -> list[dict[str, Any]]:
    """Return one entry for each licence, attribution and language, with its speakers."""
    speakers: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for credit in sorted(credits):
        speakers[credit.licence, credit.attribution, credit.language].append(credit.speaker)
    return [
        {"licence": licence, "attribution": attribution, "language": language, "speakers": names}
        for (licence, attribution, language), names in speakers.items()
    ]


def credits_from_json(entries: Iterable[Mapping[str, Any]]) -> set[Credit]:
    """Read what `credits_to_json` made."""
    names = ("licence", "attribution", "language")
    return {
        Credit(speaker=speaker, **{name: entry[name] for name in names})
        for entry in entries
        for speaker in entry["speakers"]
    }
