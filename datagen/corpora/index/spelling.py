"""One spelling for sounds that transcripts spell in many ways."""

from __future__ import annotations

import re

from microturn.model.streams import normalise


def canonical(text: str) -> str:
    """Normalised text with one spelling for sounds that transcripts spell in many ways."""
    text = re.sub(r"\b(?:h+m+|m+h*m+)\b", "hmm", normalise(text))
    text = re.sub(r"\bu+h*m+\b", "um", text)
    return re.sub(r"\ba+h+\b", "ah", re.sub(r"\bo+h+\b", "oh", text))
