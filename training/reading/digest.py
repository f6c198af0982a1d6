"""What a run reads, as a digest: a set that was moved is the same, another one is not."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Final

from microturn.datagen.sets.shards import INDEX_NAME
from microturn.training.reading.heard_alone import HeardAlone
from microturn.training.reading.mixture import MixedSource
from microturn.training.reading.source import Source, tokenizer_text
from microturn.training.reading.tolerant import TolerantSource
from microturn.training.sources import LiveDialogues, ShardDialogues

_DIGITS: Final = 16


def data_digest(source: Source) -> str:
    """Digest the dialogues of a source, their order and, of a mix, shares and stages.

    Of sets the index counts, which holds the checksum of every tar; of tars without one their
    names and the dialogues that were found; of live dialogues what `data=` says.
    """
    text = json.dumps([_description(source), len(source), tokenizer_text(source.tokenizer)])
    return sha256(text.encode()).hexdigest()[:_DIGITS]


def _description(source: Source) -> object:
    if isinstance(source, TolerantSource):
        return _description(source.inner)
    if isinstance(source, HeardAlone):
        return ["heard", _description(source.inner)]
    if isinstance(source, MixedSource):
        stages = [[stage.weights, stage.steps, stage.epochs] for stage in source.stages]
        return [stages, *map(_description, source.parts)]
    if isinstance(source, ShardDialogues):
        return [
            [(part.reader.folder / INDEX_NAME).read_text(encoding="utf-8"), part.first, part.size]
            for part in source.ranges
        ]
    if isinstance(source, LiveDialogues):
        return source.data
    return [source.name(0), source.name(len(source) - 1)]
