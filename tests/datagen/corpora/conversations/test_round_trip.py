"""Our own sets, exported and taken in again: the same sound, the same words, the same people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from microturn.configs.load import load_config
from microturn.datagen.config import DatagenConfig, RoomsConfig
from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.conversations.checking.crosstalk import INAUDIBLE_DB
from microturn.datagen.corpora.conversations.reader import Conversations
from microturn.datagen.corpora.conversations.record import CorpusConversation, Side
from microturn.datagen.export.config import ExportConfig
from microturn.datagen.export.export import export
from microturn.datagen.sets.shards import ShardReader, StoredDialogue
from microturn.datagen.simulate import simulate
from microturn.model.streams.pcm import Audio

FRAME_S = 0.01


def taken(source: Path, out: Path) -> Conversations:
    add_corpus(CorpusAddConfig(source=str(source), out=str(out), workers=1))
    return Conversations([out])


def exported(reader: ShardReader, form: str, folder: Path) -> Path:
    return export(ExportConfig(data=str(reader.folder), format=form, out=str(folder / form)))


def side_of(found: CorpusConversation, role: str) -> Side:
    (side,) = (side for side in found.sides if side.role == role)
    return side


def check_words(sample: StoredDialogue, found: CorpusConversation, *, lag_s: float) -> None:
    """The words of both sides, with their times and how these are known."""
    for role in ("user", "agent"):
        truth = sorted(sample.labels.words.of(role), key=lambda word: word.start_s)
        words = side_of(found, role).words
        assert [word.text for word in words] == [word.text for word in truth]
        for word, label in zip(words, truth, strict=True):
            assert word.is_known == (not label.is_unknown and label.times != "interpolated")
            assert abs(word.start_s - label.start_s) <= lag_s
            assert word.end_s - label.end_s <= lag_s


def error_of(sound: Audio, truth: Audio, side: Side) -> float:
    """The share of the energy of the words of a side that is another."""
    assert len(sound) == len(truth)
    said = np.zeros(len(truth), bool)
    for word in side.words:
        said[round(word.start_s * 16_000) : round(word.end_s * 16_000)] = True
    return float(np.square(sound - truth)[said].sum() / max(np.square(truth[said]).sum(), 1e-9))


def check_samples(sound: Audio, truth: Audio, found: CorpusConversation, side: Side) -> None:
    """Every sample is what it was, but where crosstalk (an echo of the agent) was muted."""
    changed = np.flatnonzero(sound != truth)
    if not len(changed):
        return
    assert found.crosstalk_db is not None
    assert found.crosstalk_db > INAUDIBLE_DB
    assert (np.abs(sound) <= np.abs(truth) + 1e-4).all()
    for word in side.words:
        first, end = round(word.start_s * 16_000), round(word.end_s * 16_000)
        assert np.array_equal(sound[first:end], truth[first:end])


def round_trips(reader: ShardReader, folder: Path) -> None:
    """Every format, every dialogue."""
    for form in ("lhotse", "moshi", "shards"):
        source = Path(str(reader.folder)) if form == "shards" else exported(reader, form, folder)
        opened = taken(source, folder / f"{form}-corpus")
        by_key = {row.id.rpartition("/")[2]: row.id for row in opened.rows}
        kept = 0
        for sample in reader:
            if sample.key not in by_key:
                continue
            kept += 1
            found = opened.find(by_key[sample.key])
            assert found.split == reader.split
            check_words(sample, found, lag_s=1e-4 if form != "moshi" else FRAME_S)
            user = sample.user() if form != "shards" else sample.stem("user")
            for role, truth in (("user", user), ("agent", sample.agent())):
                sound = opened.sound(found, side_of(found, role), 0.0, found.duration_s)
                if form == "moshi":
                    side = side_of(found, role)
                    assert error_of(sound, truth, side) < 1e-3, "resampled twice"
                else:
                    check_samples(sound, truth, found, side_of(found, role))
        assert kept == len(reader), (
            f"{form}: {(folder / f'{form}-corpus' / 'skipped.jsonl').read_text()}"
        )


def test_sets_come_back_as_they_were(finished_set: ShardReader, tmp_path: Path) -> None:
    round_trips(finished_set, tmp_path)


@pytest.mark.slow
def test_conversations_come_back_as_they_were(cache: Path, tmp_path: Path) -> None:
    config = load_config(
        DatagenConfig, [Path("datagen/human.yaml")], ["out=unused", "only=[conversation]"]
    )
    config = replace(
        config,
        out=str(tmp_path / "set"),
        n_dialogues=4,
        dialogues_per_shard=4,
        workers=1,
        stems=True,
        rooms=RoomsConfig(n_rooms=2, method="tail"),
    )
    simulate(config, cache=cache)
    round_trips(ShardReader(tmp_path / "set"), tmp_path)
