"""Recordings of a small corpus are decoded once; what is kept is what is decoded, or made again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.index import decoded_sounds
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.utterance import Utterance


@pytest.fixture(scope="module")
def line() -> Utterance:
    return next(one for one in Corpus.open() if one.source == "amazon-queen")


def kept(cache: Path) -> list[Path]:
    return [path for path in (cache / decoded_sounds.FOLDER).rglob("*") if path.is_file()]


def test_a_recording_is_decoded_once_and_has_the_same_bits(
    tmp_path: Path, line: Utterance, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Corpus.open().load(line)
    assert np.array_equal(Corpus.open(cache=tmp_path).load(line), plain)
    (path,) = kept(tmp_path)
    assert path.stat().st_size == 4 * len(plain) + 4
    monkeypatch.setattr("microturn.datagen.corpora.manifest.read_sound", None)  # not called
    again = Corpus.open(cache=tmp_path).load(line)
    assert np.array_equal(again, plain)
    assert again.dtype == np.float32


def test_another_rate_is_another_recording(tmp_path: Path, line: Utterance) -> None:
    for rate in (16_000, 24_000):
        found = Corpus.open(cache=tmp_path, sample_rate=rate).load(line)
        assert np.array_equal(found, Corpus.open(sample_rate=rate).load(line))
    assert len(kept(tmp_path)) == 2


@pytest.mark.parametrize("damage", ["torn", "zeroed", "empty"])
def test_damage_is_noticed_and_mended(tmp_path: Path, line: Utterance, damage: str) -> None:
    plain = Corpus.open(cache=tmp_path).load(line)
    (path,) = kept(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(
        {"torn": whole[:-8], "zeroed": whole[:4096] + bytes(4096) + whole[8192:], "empty": b""}[
            damage
        ]
    )
    assert np.array_equal(Corpus.open(cache=tmp_path).load(line), plain)
    assert path.read_bytes() == whole


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path: Path, line: Utterance
) -> None:
    (tmp_path / decoded_sounds.FOLDER).write_text("a file, not a folder")
    assert len(Corpus.open(cache=tmp_path).load(line))


def test_of_a_large_corpus_nothing_is_kept(
    tmp_path: Path, line: Utterance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded_sounds, "MAX_BYTES", 1 << 20)
    Corpus.open(cache=tmp_path).load(line)
    assert not kept(tmp_path)


def test_a_copy_of_a_corpus_finds_the_same_recordings(tmp_path: Path, line: Utterance) -> None:
    corpus = Corpus.open(cache=tmp_path / "cache")
    corpus.load(line)
    copy = shutil.copytree(Path(str(corpus.folder)), tmp_path / "copy")
    Corpus.open(copy, cache=tmp_path / "cache").load(line)
    assert len(kept(tmp_path / "cache")) == 1
