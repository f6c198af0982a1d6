"""Exported segments carry the language of their recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from microturn.datagen.config import DatagenConfig
from microturn.datagen.export.dialogue import segments_of
from microturn.datagen.pipeline import Simulator


def test_segments_have_the_language_of_their_recordings(
    config: DatagenConfig, simulator_for: Callable[[DatagenConfig], Simulator]
) -> None:
    simulator = simulator_for(replace(config, only=("translation",)))
    labels = simulator.labels(simulator.dialogue(0))
    corpus = simulator.bank.corpus
    sample: Any = SimpleNamespace(key="0", labels=labels)
    segments = segments_of(sample, 0.5)
    for segment in segments:
        assert {corpus[word.source].language for word in segment.words} == {segment.language}
    assert {segment.language for segment in segments if segment.lane == "user"} - {"en"}
    items = tuple(replace(item, language="") for item in labels.items)
    sample.labels = replace(labels, items=items)
    assert {segment.language for segment in segments_of(sample, 0.5)} == {"und"}
