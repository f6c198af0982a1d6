"""Public sets of many people in their own layouts, and tars: one command each, split by people."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from microturn.datagen.corpora.adapters import format_of
from microturn.datagen.corpora.adapters.an4 import RawSound
from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.manifest import Corpus
from microturn.datagen.corpora.recordings import Recording, SoundError
from microturn.datagen.corpora.utterance import Utterance

RATE = 16_000
Write = Callable[[Path, str], None]
Add = Callable[..., dict[str, object]]


@pytest.fixture
def write(shipped: Corpus) -> Write:
    """Write a shipped recording of a word as a sound file of any kind, each time a little other."""
    n = 0

    def put(path: Path, text: str) -> None:
        nonlocal n
        n += 1
        said = next(u for u in shipped.filter(speaker="asterisk-en") if u.text.lower() == text)
        audio = shipped.load(said)[: -n * 16] * np.float32(1 - n / 100)
        path.parent.mkdir(parents=True, exist_ok=True)
        pcm = (audio * 32767).astype(np.int16)
        if path.suffix == ".raw":
            path.write_bytes(pcm.astype(">i2" if "big" in path.parts else "<i2").tobytes())
        else:
            kind = "WAV" if path.name.lower().endswith(".wav") else None
            kind = "NIST" if path.suffix == ".sph" else kind
            soundfile.write(path, pcm, RATE, format=kind)

    return put


@pytest.fixture
def add(tmp_path: Path) -> Add:
    def added(source: Path, **values: object) -> dict[str, object]:
        out = tmp_path / "added"
        config = CorpusAddConfig(
            source=str(source), out=str(out), workers=1, cache=str(tmp_path / "cache"), **values
        )
        return add_corpus(config)

    return added


def of(summary: dict[str, object]) -> dict[str, Utterance]:
    return {u.id.partition("/")[2]: u for u in Corpus.open(str(summary["folder"]))}


def listed(root: Path, name: str) -> dict[str, Recording]:
    form = format_of(root, "auto")
    assert form.name == name
    return {recording.id: recording for recording in form.read(root, {})}


def people_are_on_one_side(recordings: Sequence[Utterance]) -> bool:
    sides: dict[str, set[str]] = {}
    for recording in recordings:
        sides.setdefault(recording.speaker, set()).add(recording.split)
    return all(len(found) == 1 for found in sides.values())


# --- Speech Commands -----------------------------------------------------------------------------
def test_speech_commands_state_word_speaker_and_split(
    tmp_path: Path, write: Write, add: Add
) -> None:
    root = tmp_path / "speech_commands_v0.02"
    for word in ("one", "two", "seven"):
        for speaker in ("0a2b400e", "3bfd30e6", "f17d21b5"):
            write(root / word / f"{speaker}_nohash_0.wav", word)
    write(root / "one" / "0a2b400e_nohash_1.wav", "one")
    write(root / "_background_noise_" / "dishes.wav", "two")
    (root / "validation_list.txt").write_text("one/3bfd30e6_nohash_0.wav\n")
    (root / "testing_list.txt").write_text("two/3bfd30e6_nohash_0.wav\n")

    summary = add(root)
    assert summary["format"] == "speech_commands"
    assert summary["licences"] == ["CC-BY-4.0"]
    assert summary["licence_from"] == "layout"
    found = of(summary)
    assert {(u.text, u.speaker.rpartition("-")[2]) for u in found.values()} == {
        (word, speaker)
        for word in ("one", "two", "seven")
        for speaker in ("0a2b400e", "3bfd30e6", "f17d21b5")
    } - {("seven", "3bfd30e6")}  # listed nowhere, by a speaker who is held out
    assert len([u for u in found.values() if u.text == "one"]) == 4
    assert {u.speaker for u in found.values() if u.split == "test"} == {
        next(u.speaker for u in found.values() if "3bfd30e6" in u.id)
    }
    assert people_are_on_one_side(list(found.values()))
    assert summary["skipped"] == {"entry": 1, "no_text": 1}


def test_the_test_set_of_speech_commands_has_unknown_words(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "yes" / "0a2b400e_nohash_0.wav", "one")
    write(tmp_path / "_unknown_" / "eight_82b99576_nohash_0.wav.wav", "eight")
    write(tmp_path / "_silence_" / "82b99576_nohash_0.wav", "one")
    write(tmp_path / "yes" / "somebody.wav", "one")
    found = listed(tmp_path, "speech_commands")
    assert (found["eight-82b99576-0"].text, found["eight-82b99576-0"].speaker) == (
        "eight",
        "82b99576",
    )
    assert found["yes-0a2b400e-0"].text == "yes"
    assert found["_silence_-82b99576-0"].text == ""
    assert found["yes-somebody"].problem == "its name does not say who speaks"
    assert {recording.split for recording in found.values()} == {""}


# --- AN4 -----------------------------------------------------------------------------------------
def an4_tree(root: Path, write: Write, ending: str) -> None:
    write(root / f"wav/an4_clstk/fash/an251-fash-b{ending}", "seven")
    write(root / f"wav/an4_clstk/mjbg/cen1-mjbg-b{ending}", "two")
    write(root / f"wav/an4test_clstk/fcaw/an406-fcaw-b{ending}", "six")
    etc = root / "etc"
    etc.mkdir()
    (etc / "an4_train.transcription").write_text(
        "<s> SEVEN </s> (an251-fash-b)\nTWO (cen1-mjbg-b)\n\nno name\n"
    )
    (etc / "an4_test.transcription").write_text("<s> SIX </s> (an406-fcaw-b)\n")
    (etc / "an4_train.fileids").write_text("an4_clstk/fash/an251-fash-b\n")


@pytest.mark.parametrize(("ending", "order"), [(".sph", ""), (".raw", "little"), (".raw", "big")])
def test_an4_as_its_archives_have_it(
    ending: str, order: str, tmp_path: Path, write: Write, add: Add
) -> None:
    an4_tree(tmp_path / order / "an4", write, ending)
    summary = add(tmp_path / order / "an4", name="an4")
    assert summary["format"] == "an4"
    assert summary["licences"] == ["LicenseRef-CMU-AN4"]
    found = of(summary)
    assert {(name, u.text, u.speaker, u.split) for name, u in found.items()} == {
        ("an251-fash-b", "seven", "an4-fash", "train"),
        ("cen1-mjbg-b", "two", "an4-mjbg", "train"),
        ("an406-fcaw-b", "six", "an4-fcaw", "test"),
    }
    assert summary["skipped"] == {"entry": 1}


def test_samples_without_a_header_are_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(b"\0\0\1")
    with pytest.raises(SoundError, match="3 bytes, which are no samples of two bytes"):
        RawSound(path=path).decode()
    path.write_bytes(bytes(2 * RATE * 3))
    with pytest.raises(SoundError, match="3.0 s long"):
        RawSound(path=path).decode(longest_s=2.0)


# --- Kaldi tables, as those of speechocean762 -----------------------------------------------------
def test_files_of_kaldi_tables_may_lie_beside_the_folder_of_the_tables(
    tmp_path: Path, write: Write, add: Add
) -> None:
    sides = {"train": "0001", "test": "0003"}
    for side, number in sides.items():
        place = f"WAVE/SPEAKER{number}/{number}50011.WAV"
        write(tmp_path / "so762" / place, {"train": "nine", "test": "three"}[side])
        folder = tmp_path / "so762" / side
        folder.mkdir()
        (folder / "wav.scp").write_text(f"{number}50011\t{place}\n")
        (folder / "text").write_text(f"{number}50011\t{'NINE' if side == 'train' else 'THREE'}\n")
        (folder / "utt2spk").write_text(f"{number}50011\t{number}\n")
        (folder / "spk2age").write_text(f"{number}\t6\n")
    summary = add(tmp_path / "so762", licence="so762")
    assert summary["format"] == "segments"
    assert {(u.text, u.speaker, u.split) for u in of(summary).values()} == {
        ("nine", "so762-0001", "train"),
        ("three", "so762-0003", "test"),
    }


# --- tars ----------------------------------------------------------------------------------------
def manifest_tree(root: Path, write: Write) -> None:
    rows = []
    for number, speaker in enumerate(("p1", "p1", "p2", "p3")):
        file = f"{speaker}/clip{number}.ogg"
        write(root / file, "four")
        rows.append(
            {
                "id": f"clip{number}",
                "file": file,
                "speaker": speaker,
                "text": "four",
                "language": "en",
                "licence": "CC BY 4.0",
                "duration_s": 0.5,
                "source": "somewhere",
                "words": None if number else [["four", 0.05, 0.4]],
                "peak": 0.5,
            }
        )
    rows.append({"id": "silent", "file": "p4/none.ogg", "speaker": "p4", "text": ""})
    (root / "README").write_text("who, where from")
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def tar_of(folder: Path, tar: Path, *, mode: str = "w", top: str = "") -> Path:
    with tarfile.open(tar, mode) as archive:
        for path in sorted(folder.rglob("*")):
            archive.add(path, f"{top}{path.relative_to(folder)}", recursive=False)
    return tar


@pytest.mark.parametrize(("mode", "top"), [("w", ""), ("w:gz", "people/")])
def test_a_tar_is_added_as_it_is(
    mode: str, top: str, tmp_path: Path, write: Write, add: Add
) -> None:
    manifest_tree(tmp_path / "tree", write)
    tar = tar_of(tmp_path / "tree", tmp_path / "People_1.tar.gz", mode=mode, top=top)
    summary = add(tar)
    with pytest.raises(ValueError, match="is a corpus already; simulate with corpus=FOLDER"):
        add(Path(str(summary["folder"])))
    assert (summary["name"], summary["format"]) == ("people-1", "jsonl")
    found = of(summary)
    assert {u.speaker for u in found.values()} == {"people-1-p1", "people-1-p2", "people-1-p3"}
    assert {u.licence for u in found.values()} == {"CC BY 4.0"}
    assert len({u.split for u in found.values()}) == 2
    assert people_are_on_one_side(list(found.values()))
    (skipped,) = (tmp_path / "added" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(skipped)["place"] == f"{tar}/p4/none.ogg"
    assert not list((tmp_path / "added").glob("unpacked"))

    before = {path.name: path.read_bytes() for path in (tmp_path / "added").iterdir()}
    assert "changed" not in add(tar)
    manifest = tmp_path / "tree" / "manifest.jsonl"
    manifest.write_text(manifest.read_text().replace('"p3"', '"p2"'))
    tar_of(tmp_path / "tree", tar, mode=mode, top=top)
    assert add(tar)["changed"] == 1
    assert before["manifest.jsonl"] != (tmp_path / "added" / "manifest.jsonl").read_bytes()


def test_a_tar_adds_what_its_folder_does(
    tmp_path: Path, write: Write, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest_tree(tmp_path / "tree", write)
    tar = tar_of(tmp_path / "tree", tmp_path / "tree.tar")
    one = of(add(tar))
    (tmp_path / "added").rename(tmp_path / "of the tar")
    other = of(add(tmp_path / "tree"))
    assert one == other


@pytest.mark.parametrize("name", ["../outside", "/outside"])
def test_a_tar_writes_nothing_elsewhere(name: str, tmp_path: Path, add: Add) -> None:
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match="is no file below its folder; unpack it yourself"):
        add(tmp_path / "bad.tar")
    assert not (tmp_path / "added").exists()


def test_a_tar_without_texts_is_named_in_its_sentence(tmp_path: Path, add: Add) -> None:
    (tmp_path / "tree" / "ann").mkdir(parents=True)
    soundfile.write(tmp_path / "tree" / "ann" / "a.wav", np.zeros(800), 8000)
    row = json.dumps({"audio": "ann/a.wav", "speaker": "ann"})
    (tmp_path / "tree" / "manifest.jsonl").write_text(row + "\n", encoding="utf-8")
    tar = tar_of(tmp_path / "tree", tmp_path / "tree.tar")
    with pytest.raises(ValueError, match=f"recordings of {tar} can be used; the first, {tar}/ann"):
        add(tar)
