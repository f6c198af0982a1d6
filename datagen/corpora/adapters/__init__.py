"""The registry of corpus layouts, and the detection of the layout of a folder."""

from __future__ import annotations

from pathlib import Path

from microturn.datagen.corpora.adapters.an4 import AN4
from microturn.datagen.corpora.adapters.common_voice import COMMON_VOICE
from microturn.datagen.corpora.adapters.files import FILES
from microturn.datagen.corpora.adapters.huggingface import HUGGINGFACE
from microturn.datagen.corpora.adapters.jsonl import JSONL
from microturn.datagen.corpora.adapters.lhotse_manifests import LHOTSE
from microturn.datagen.corpora.adapters.librispeech import LIBRISPEECH
from microturn.datagen.corpora.adapters.ljspeech import LJSPEECH
from microturn.datagen.corpora.adapters.segments import SEGMENTS
from microturn.datagen.corpora.adapters.speech_commands import SPEECH_COMMANDS
from microturn.datagen.corpora.adapters.table import TABLE
from microturn.datagen.corpora.adapters.vctk import VCTK
from microturn.datagen.corpora.recordings import Format

# The first match is used: from the most specific to the most general.
FORMATS = (
    LIBRISPEECH,
    LJSPEECH,
    COMMON_VOICE,
    VCTK,
    SPEECH_COMMANDS,
    AN4,
    HUGGINGFACE,
    LHOTSE,
    SEGMENTS,
    JSONL,
    TABLE,
    FILES,
)


def format_of(source: Path, name: str) -> Format:
    """Return the format of this name, or with `auto` the first that the folder matches."""
    known = {form.name: form for form in FORMATS}
    if name != "auto":
        form = known.get(name)
        if form is None:
            raise ValueError(f"format={name!r} is none of auto, {', '.join(known)}")
        if not form.matches(source):
            raise ValueError(f"{source} does not have the layout {name}: it needs {form.sign}")
        return form
    for form in FORMATS:
        if form.matches(source):
            return form
    signs = "; ".join(f"{form.name}: {form.sign}" for form in FORMATS)
    raise ValueError(f"{source} has none of the known layouts ({signs}); see docs/corpora.md")
