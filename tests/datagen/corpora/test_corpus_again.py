"""Adding a corpus again, and what adding it says about people, languages and licences."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.manifest import Corpus

RATE = 16_000
WORDS = ("monday", "tuesday", "friday", "sunday")


@pytest.fixture(scope="module")
def sounds() -> dict[str, Any]:
    shipped = Corpus.open()
    spoken = {u.text: u for u in shipped.filter(speaker="asterisk-en")}
    return {word: np.asarray(shipped.load(spoken[word])) for word in WORDS}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def write(root: Path, name: str, sounds: dict[str, Any], word: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(root / f"{name}.wav", sounds[word], RATE, subtype="PCM_16")
    (root / f"{name}.txt").write_text(word)


def add(source: Path, out: Path, cache: str, **keys: Any) -> dict[str, Any]:
    return add_corpus(
        CorpusAddConfig(source=str(source), out=str(out), workers=1, cache=cache, **keys)
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    names = ("corpus.json", "manifest.jsonl", "audio-0000.tar", "skipped.jsonl", "source.jsonl")
    return {name: (folder / name).read_bytes() for name in names}


def test_adding_again_takes_what_is_new_and_drops_what_is_gone(
    tmp_path: Path, cache: str, sounds: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = tmp_path / "mine", tmp_path / "out"
    write(root, "ann/a", sounds, "monday")
    write(root, "bob/b", sounds, "tuesday")
    assert add(root, out, cache)["recordings"] == 2
    before = bytes_of(out)
    add(root, out, cache)
    assert "nothing is new" in capsys.readouterr().err
    assert bytes_of(out) == before

    write(root, "eve/c", sounds, "friday")
    (root / "ann" / "a.wav").unlink()
    write(root, "bob/b", sounds, "sunday")
    summary = add(root, out, cache)
    assert {name: summary[name] for name in ("new", "gone", "changed")} == {
        "new": 1,
        "gone": 1,
        "changed": 1,
    }
    assert "1 new, 1 gone, 1 changed" in capsys.readouterr().err
    assert {u.id: u.text for u in Corpus.open(out)} == {
        "mine/bob/b": "sunday",
        "mine/eve/c": "friday",
    }
    add(root, tmp_path / "fresh", cache)
    assert bytes_of(tmp_path / "fresh") == bytes_of(out), "as if it had been added once"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "mine", "out"]


def test_a_source_that_is_gone_leaves_the_corpus(
    tmp_path: Path, cache: str, sounds: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine", "ann/a", sounds, "monday")
    add(tmp_path / "mine", tmp_path / "out", cache)
    (tmp_path / "mine").rename(tmp_path / "elsewhere")
    assert add(tmp_path / "mine", tmp_path / "out", cache)["recordings"] == 1


def test_every_english_is_english(tmp_path: Path, cache: str, sounds: dict[str, Any]) -> None:
    tags = dict(zip(WORDS, ("en-US", "eng", "English", "en_GB"), strict=True))
    rows = []
    for word, tag in tags.items():
        soundfile.write(tmp_path / f"{word}.wav", sounds[word], RATE, subtype="PCM_16")
        row = {"audio_filepath": f"{word}.wav", "text": word, "speaker": word, "lang": tag}
        rows.append(json.dumps(row))
    (tmp_path / "all.jsonl").write_text("\n".join(rows))
    add(tmp_path / "all.jsonl", tmp_path / "out", cache)
    corpus = Corpus.open(tmp_path / "out")
    assert {u.language for u in corpus} == {"en"}
    assert len(corpus.filter(language="en-US")) == len(WORDS)
    assert all(u.cuts for u in corpus), "they are aligned and cut like any English"


def test_a_manifest_of_any_age_is_read_with_the_same_codes(
    tmp_path: Path, cache: str, sounds: dict[str, Any]
) -> None:
    write(tmp_path / "mine", "ann/a", sounds, "monday")
    add(tmp_path / "mine", tmp_path / "out", cache)
    manifest = tmp_path / "out" / "manifest.jsonl"
    line = json.loads(manifest.read_text()) | {"language": "en-us"}
    manifest.write_text(json.dumps(line) + "\n")
    assert [u.language for u in Corpus.open(tmp_path / "out")] == ["en"]


def test_a_licence_of_the_layout_is_said_to_be_assumed(
    tmp_path: Path, cache: str, sounds: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "lj"
    write(root, "wavs/one", sounds, "monday")
    (root / "metadata.csv").write_text("one|monday|monday\n")
    summary = add(root, tmp_path / "out", cache)
    assert summary["licence_from"] == "layout"
    assert "assumed from the layout ljspeech" in capsys.readouterr().err
    assert {u.licence_from for u in Corpus.open(tmp_path / "out")} == {"layout"}
    summary = add(root, tmp_path / "given", cache, licence="CC0-1.0")
    assert summary["licence_from"] == "stated"
    assert "assumed" not in capsys.readouterr().err
    write(tmp_path / "files", "ann/a", sounds, "monday")
    assert add(tmp_path / "files", tmp_path / "third", cache)["licence_from"] == "unknown"


def test_recordings_of_nobody_are_trained_on_and_counted(
    tmp_path: Path, cache: str, sounds: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for word in WORDS:
        soundfile.write(tmp_path / f"{word}.wav", sounds[word], RATE, subtype="PCM_16")
        rows.append(json.dumps({"audio_filepath": f"{word}.wav", "text": word, "lang": "en"}))
    (tmp_path / "all.jsonl").write_text("\n".join(rows))
    summary = add(tmp_path / "all.jsonl", tmp_path / "out", cache, test_share=0.9)
    assert summary["unnamed"] == len(WORDS)
    assert "4 recordings name no speaker" in capsys.readouterr().err
    assert {u.split for u in Corpus.open(tmp_path / "out")} == {"train"}
