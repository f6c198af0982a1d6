"""Which dialogues ship: everybody in turn, what is stored already first, within a size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from microturn.datagen.corpora.conversations.parts import DialogueRun
from microturn.datagen.corpora.default_corpus.build import StoredUtterance
from microturn.datagen.corpora.default_corpus.scenes import (
    LINE_BYTES,
    TAR_BYTES,
    TURN_BYTES,
    select_runs,
)
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance

CLIP_BYTES = 1000
# What a dialogue of two lines takes, one of which is stored anew.
ONE_FRESH = CLIP_BYTES + TAR_BYTES + 2 * (LINE_BYTES + TURN_BYTES)


@pytest.fixture(scope="module")
def template(shipped: Corpus) -> Utterance:
    return shipped.filter(speaker="joe")[0]


def dialogue(template: Utterance, name: str, *lines: tuple[str, str]) -> DialogueRun:
    """A dialogue of lines, each a clip and its speaker."""
    utterances = tuple(
        replace(template, id=f"amazon-queen/{clip}", speaker=speaker, size=CLIP_BYTES)
        for clip, speaker in lines
    )
    return DialogueRun(id=name, split="train", utterances=utterances)


def chosen(runs: list[DialogueRun], fresh: str, n_bytes: int) -> list[str]:
    """Names of the selected dialogues when these clips would be stored."""
    stored = {
        utterance.id.removeprefix("amazon-queen/"): StoredUtterance(utterance, bytes(CLIP_BYTES))
        for run in runs
        for utterance in run.utterances
        if utterance.id[-1] in fresh
    }
    return [run.id for run in select_runs(runs, stored, n_bytes)]


def test_everybody_gets_a_dialogue_before_anybody_gets_two(template: Utterance) -> None:
    runs = [dialogue(template, f"bob-{i}", (f"a{i}x", "joe"), (f"b{i}n", "bob")) for i in range(5)]
    runs += [dialogue(template, "faye", ("cx", "joe"), ("cn", "faye"))]
    for n in (2, 3):
        names = chosen(runs, "n", n * ONE_FRESH)
        assert len(names) == n
        assert "faye" in names


def test_what_is_stored_already_comes_first(template: Utterance) -> None:
    runs = [
        dialogue(template, "a", ("1n", "joe"), ("2n", "bob")),
        dialogue(template, "b", ("3x", "joe"), ("4n", "bob")),
        dialogue(template, "c", ("5x", "joe"), ("6x", "bob")),
    ]
    assert chosen(runs, "n", ONE_FRESH - 1) == ["c"]
    assert chosen(runs, "n", 2 * ONE_FRESH) == ["b", "c"]


def test_a_dialogue_that_is_too_large_is_passed_over(template: Utterance) -> None:
    lines = [(f"{i}n", "joe" if i % 2 else "bob") for i in range(20)]
    runs = [dialogue(template, "long", *lines)]
    runs += [dialogue(template, "short", ("90n", "joe"), ("91n", "eddy"))]
    assert chosen(runs, "n", 2 * ONE_FRESH) == ["short"]


def test_a_line_of_two_dialogues_is_paid_once(template: Utterance) -> None:
    shared = ("1n", "joe")
    runs = [dialogue(template, name, shared, (f"2{name}x", "bob")) for name in ("a", "b")]
    assert chosen(runs, "n", 2 * ONE_FRESH - CLIP_BYTES - TAR_BYTES - LINE_BYTES) == ["a", "b"]
