"""The index of a manifest, with every module that decides what is in it."""

from __future__ import annotations

from functools import partial
from typing import Final

from microturn.datagen.corpora import languages, utterance
from microturn.datagen.corpora.alignment import matching
from microturn.datagen.corpora.index import manifest_columns, spelling, strings
from microturn.datagen.corpora.index.lines import LineIndex, open_index
from microturn.datagen.labels import time_classes
from microturn.datagen.sets.storage import Place
from microturn.model.streams import text

CODE: Final = (
    *(languages, manifest_columns, matching),
    *(spelling, strings, text, time_classes, utterance),
)


def open_manifest(manifest: Place) -> LineIndex:
    """Open the index of a manifest; ValueError names a line that is wrong."""
    columns = partial(manifest_columns.manifest_columns, manifest=manifest)
    return open_index(manifest, columns=columns, code=CODE)
