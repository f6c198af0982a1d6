"""Taking corpora in: bad recordings, splits, the cache, names, packages, and what simulate sees."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.configs import main as cli
from microturn.datagen.config import DatagenConfig
from microturn.datagen.corpora import packages
from microturn.datagen.corpora.add import SKIPPED_NAME, SUMMARY_NAME, add_corpus
from microturn.datagen.corpora.alignment.cache import CachedAligner
from microturn.datagen.corpora.alignment.matching import words_of
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.home import corpora_home, digest_of, folders_of, open_corpora
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.datagen.corpora.recordings import FileSound, Recording
from microturn.datagen.corpora.splits import share_of, with_splits
from microturn.datagen.corpora.utterance import AlignedWord, Utterance
from microturn.datagen.corpora.word_times import words_from_json
from microturn.datagen.pipeline import open_corpus

RATE = 16_000


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder of corpora."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return corpora_home()


def write(path: Path, audio: Any, text: str, rate: int = RATE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(audio), rate, subtype="PCM_16")
    path.with_suffix(".txt").write_text(text)


@pytest.fixture
def folder(tmp_path: Path, shipped: Corpus, line: Utterance) -> Path:
    """One good recording, and one of everything that can be wrong."""
    root, audio = tmp_path / "mixed", np.asarray(shipped.load(line))
    other = next(u for u in shipped.filter(speaker="asterisk-en") if u.text == "monday")
    write(root / "ann" / "good.wav", audio, line.text)
    write(root / "ann" / "twin.wav", audio, line.text)
    write(root / "ann" / "silent.wav", audio * 1e-4, line.text)
    write(root / "ann" / "zero.wav", audio[:0], line.text)
    write(root / "ann" / "untold.wav", audio[: len(audio) // 2], "")
    write(root / "ann" / "long.wav", np.tile(audio, 20), line.text)
    write(root / "ann" / "wrong.wav", shipped.load(other), "please enter seven digits")
    write(root / "ann" / "dense.wav", shipped.load(other), line.text * 3)
    write(root / "ann" / "late.wav", audio[: RATE * 2], line.text)
    times = [[w.text, w.start_s, w.end_s] for w in line.words]
    (root / "ann" / "late.json").write_text(json.dumps(times))
    write(root / "ann" / "other.wav", audio[100:], line.text)
    (root / "ann" / "other.json").write_text(json.dumps([["quite", 0, 0.5], ["else", 0.5, 1]]))
    write(root / "ann" / "torn.wav", audio[200:], line.text)
    (root / "ann" / "torn.TextGrid").write_text("File type =")
    (root / "ann" / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    (root / "ann" / "broken.txt").write_text("hello")
    (root / "ann" / "nothing.wav").write_bytes(b"")
    (root / "ann" / "nothing.txt").write_text("hello")
    return root


def config(source: Path | str, out: Path, cache: str, **keys: Any) -> CorpusAddConfig:
    return CorpusAddConfig(
        **{"source": str(source), "out": str(out), "workers": 1, "cache": cache, **keys}
    )


def test_what_cannot_be_used_is_skipped_counted_and_listed_with_the_reason(
    folder: Path, tmp_path: Path, cache: str, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = add_corpus(config(folder, tmp_path / "out", cache))
    assert [utterance.id for utterance in Corpus.open(tmp_path / "out")] == ["mixed/ann/good"]
    rows = [json.loads(row) for row in (tmp_path / "out" / SKIPPED_NAME).read_text().splitlines()]
    reasons = {Path(row["id"]).name: (row["kind"], row["reason"]) for row in rows}
    expected = {
        "twin": ("duplicate", "the same sound as mixed/ann/good"),
        "silent": ("silent", "it is silent"),
        "zero": ("empty", "it has 0 samples"),
        "untold": ("no_text", "it has no transcript"),
        "long": ("too_long", "above longest_s=40"),
        "wrong": ("mislabelled", "its sound does not fit its text|its text cannot be aligned"),
        "dense": ("mislabelled", "its text does not fit into"),
        "late": ("bad_times", "out of order or outside"),
        "other": ("mislabelled", "its words with times .* are not its text"),
        "torn": ("bad_times", "its word times in torn.TextGrid cannot be read"),
        "broken": ("unreadable", "the file cannot be decoded"),
        "nothing": ("unreadable", "the file is empty"),
    }
    assert set(reasons) == set(expected)
    for name, (kind, reason) in expected.items():
        assert reasons[name][0] == kind, reasons[name]
        assert re.search(reason, reasons[name][1]), reasons[name]
    assert sum(summary["skipped"].values()) == len(expected)
    assert summary["recordings"] == 1
    assert "skipped: 2 bad_times, 1 duplicate, 1 empty" in capsys.readouterr().err
    assert (
        json.loads((tmp_path / "out" / SUMMARY_NAME).read_text())["skipped"] == summary["skipped"]
    )


def test_strict_makes_the_first_of_them_fatal_and_leaves_nothing(
    folder: Path, tmp_path: Path, cache: str
) -> None:
    with pytest.raises(
        ValueError, match=r"broken\.flac: the file cannot be decoded .*; without st"
    ):
        add_corpus(config(folder, tmp_path / "out", cache, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mixed"]


def test_nothing_usable_is_an_error_with_the_first_reason(tmp_path: Path, cache: str) -> None:
    write(tmp_path / "empty" / "a.wav", np.zeros(RATE), "hello there")
    with pytest.raises(ValueError, match=r"none of the 1 recordings of .* it is silent"):
        add_corpus(config(tmp_path / "empty", tmp_path / "out", cache))
    with pytest.raises(FileNotFoundError, match="not a file, a folder .*fotaq, asterisk-en"):
        add_corpus(config("fotaqq", tmp_path / "out", cache))
    for name, text in (("one_cuts", b'{"supervisions": [{}]}\n'), ("two_cuts", b"x")):
        (tmp_path / name).mkdir()
        data = gzip.compress(text)[: None if name == "one_cuts" else 12]
        (tmp_path / name / f"{name}.jsonl.gz").write_bytes(data)
        with pytest.raises(ValueError, match=f"{name} is not a complete lhotse corpus"):
            add_corpus(config(tmp_path / name, tmp_path / "out", cache))
    nowhere = str(tmp_path / "no")
    with pytest.raises(FileNotFoundError, match="alignments=.*/no does not exist"):
        add_corpus(config(tmp_path / "empty", tmp_path / "out", cache, alignments=nowhere))


def test_the_same_again_does_nothing_and_another_configuration_is_refused(
    tmp_path: Path, cache: str, shipped: Corpus, line: Utterance, capsys: Any
) -> None:
    write(tmp_path / "one" / "bob" / "a.wav", shipped.load(line), line.text)
    asked = config(tmp_path / "one", tmp_path / "out", cache)
    first = add_corpus(asked)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert add_corpus(replace(asked, workers=2)) == first
    assert "exists already; nothing to do" in capsys.readouterr().err
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    with pytest.raises(ValueError, match="was added with align=True, not False; delete it or"):
        add_corpus(replace(asked, align=False))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ValueError, match="exists and is not a corpus; give another out=FOLDER"):
        add_corpus(replace(asked, out=str(tmp_path / "full")))
    with pytest.raises(ValueError, match="without a configuration; give another out=FOLDER"):
        add_corpus(replace(asked, out=str(DEFAULT_FOLDER)))
    with pytest.raises(ValueError, match="'default' belongs to a corpus that ships"):
        add_corpus(replace(asked, out="", name="default"))


def test_alignments_are_kept_on_disk(tmp_path: Path, shipped: Corpus, line: Utterance) -> None:
    audio = shipped.load(line)
    first = CachedAligner(tmp_path)
    found = first.align(audio, RATE, text=line.text)
    assert found is not None
    assert [word.text for word in found.words] == words_of(line.text)
    preferred = first.prefers(audio, RATE, text="one", others=("one", "two"))
    assert first.computed == 2
    again = CachedAligner(tmp_path)
    assert again.align(audio, RATE, text=line.text) == found
    assert again.prefers(audio, RATE, text="one", others=("one", "two")) == preferred
    assert again.computed == 0
    again.align(audio[1:], RATE, text=line.text)
    assert again.computed == 1, "other sound is another question"


def recording(name: str, speaker: str, split: str = "") -> Recording:
    return Recording(
        id=name, speaker=speaker, split=split, text="", sound=FileSound(path=Path(name))
    )


def test_speakers_are_split_by_their_hash_and_nobody_is_on_both_sides() -> None:
    some = [recording(f"{s}-{i}", f"speaker{s}") for s in range(200) for i in range(3)]
    placed = with_splits(some, test_share=0.2)
    sides: dict[str, set[str]] = {}
    for one in placed:
        sides.setdefault(one.speaker, set()).add(one.split)
    assert all(len(found) == 1 for found in sides.values())
    held_out = {name for name, found in sides.items() if found == {"test"}}
    assert 20 < len(held_out) < 60
    assert held_out == {name for name in sides if share_of(name) < 0.2}
    half = with_splits(some[:300], test_share=0.2)
    assert {one.speaker for one in half if one.split == "test"} <= held_out, "more move nobody"


def test_few_speakers_leave_one_to_hold_out_and_one_speaker_is_for_training() -> None:
    three = [recording(str(i), name) for i, name in enumerate(("ann", "bob", "cy"))]
    sides = [one.split for one in with_splits(three, test_share=0.001)]
    assert sorted(sides) == ["test", "train", "train"]
    assert [one.split for one in with_splits(three[:1], test_share=0.001)] == ["train"]
    assert {one.split for one in with_splits(three, test_share=0.0)} == {"train"}


def test_what_a_corpus_states_holds_but_not_for_a_speaker_on_both_sides() -> None:
    given = [
        recording("1", "ann", "train"),
        recording("2", "ann"),
        recording("3", "bob", "test"),
        recording("4", "bob", "train"),
        recording("5", "", "test"),
        recording("6", "", ""),
    ]
    one, two, three, four, five, six = with_splits(given, test_share=0.1)
    assert (one.split, two.split, three.split, five.split) == ("train", "train", "test", "test")
    assert four.problem == "its speaker bob is held out by the corpus' own split"
    assert six.split in ("train", "test")
    assert not any(r.problem for r in (one, two, three, five, six))


@pytest.mark.parametrize(
    "value",
    [
        [["hello", 0.1, 0.5], ["world", 0.6, 1.0]],
        {"alignments": [["hello", [0.1, 0.5], "A"], ["world", [0.6, 1.0], "A"]]},
        {"words": [{"word": " hello", "start": 0.1, "end": 0.5}, {"text": "world", "start": 0.6,
                   "duration": 0.4}]},
        {"segments": [{"words": [{"word": "hello", "start": 0.1, "end": 0.5}]},
                      {"words": [{"word": "world", "start": 0.6, "end": 1.0}]}]},
        {"words": [{"word": "hello", "start": 0.1, "end": 0.5}, {"word": "um", "case": "x"},
                   {"word": "world", "start": 0.6, "end": 1.0}]},
        {"alignment": {"word": [{"symbol": "hello", "start": 0.1, "duration": 0.4},
                                {"symbol": "world", "start": 0.6, "duration": 0.4}]}},
    ],
)  # fmt: skip
def test_word_times_come_in_many_shapes_of_json(value: Any) -> None:
    expected = (
        AlignedWord(text="hello", start_s=0.1, end_s=0.5),
        AlignedWord(text="world", start_s=0.6, end_s=1.0),
    )
    assert words_from_json(value) == expected
    assert words_from_json(None) == words_from_json([]) == words_from_json("hello world") == ()
    assert words_from_json({"segments": [{"text": "hello world", "start": 0, "end": 1}]}) == ()


def test_simulate_takes_names_folders_and_several_of_them(
    home: Path, tmp_path: Path, cache: str, shipped: Corpus, line: Utterance
) -> None:
    write(tmp_path / "Mine" / "bob" / "a.wav", shipped.load(line), line.text)
    summary = add_corpus(replace(config(tmp_path / "Mine", tmp_path, cache), out=""))
    assert summary["folder"] == str(home / "mine")
    assert folders_of("default, mine") == [str(DEFAULT_FOLDER), str(home / "mine")]
    base = DatagenConfig(out=str(tmp_path / "unused"))
    alone = open_corpus(replace(base, corpus="mine"))
    assert [utterance.id for utterance in alone] == ["mine/bob/a"]
    both = open_corpus(replace(base, corpus=f"default,{home / 'mine'}"))
    assert len(both) == len(shipped) + 1
    assert np.array_equal(both.load(both["mine/bob/a"]), alone.load(alone["mine/bob/a"]))
    assert np.array_equal(both.load(both[line.id]), shipped.load(line))
    assert len({digest_of(names) for names in ("", "default", "mine", "default,mine")}) == 3
    write(tmp_path / "Mine" / "bob" / "a.wav", shipped.load(line), f"{line.text} two")
    other = config(tmp_path / "Mine", tmp_path / "other" / "mine", cache, align=False)
    add_corpus(other)
    with pytest.raises(ValueError, match="both have the id .*; add one of them under another"):
        open_corpora(f"mine,{tmp_path / 'other' / 'mine'}")
    assert len(open_corpora("default,default")) == len(shipped), "taken once"
    with pytest.raises(FileNotFoundError, match="There is no corpus folder .*/nowhere"):
        open_corpora("nowhere")


def test_a_name_of_two_people_is_refused_and_a_speed_is_no_part_of_one(
    tmp_path: Path, cache: str, shipped: Corpus, line: Utterance
) -> None:
    write(tmp_path / "a" / "b-c@home" / "1.wav", shipped.load(line), line.text)
    write(tmp_path / "a-b" / "c@home" / "1.wav", shipped.load(line), line.text)
    for name in ("a", "a-b"):
        add_corpus(config(tmp_path / name, tmp_path / "out" / name, cache))
    folders = [str(tmp_path / "out" / name) for name in ("a", "a-b")]
    assert {one.speaker for one in open_corpora(folders[0])} == {"a-b-c(at)home"}
    with pytest.raises(ValueError, match="is one person in the corpus a and another in a-b; add"):
        open_corpora(",".join(folders))


def test_each_speaker_gets_the_words_of_the_own_folder(
    tmp_path: Path, cache: str, shipped: Corpus, line: Utterance
) -> None:
    audio = np.asarray(shipped.load(line))
    for number, name in enumerate(("ann", "bob")):
        write(tmp_path / "c" / name / "1.wav", np.pad(audio, (number * RATE, 0)), line.text)
        times = [[w.text, w.start_s + number, w.end_s + number] for w in line.words]
        (tmp_path / "times" / name).mkdir(parents=True)
        (tmp_path / "times" / name / "1.json").write_text(json.dumps(times), encoding="utf-8")
    add_corpus(config(tmp_path / "c", tmp_path / "out", cache, alignments=str(tmp_path / "times")))
    for number, one in enumerate(Corpus.open(tmp_path / "out")):
        assert one.words[0].start_s == pytest.approx(line.words[0].start_s + number, abs=0.01)


def test_commas_in_the_name_of_a_folder_are_part_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a,b", "c", "x, y,z", "p", "q", "p,q"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.jsonl").touch()
    root = str(tmp_path)
    asked = f"{root}/a,b, default,{root}/x, y,z,{root}/c,{root}/gone"
    assert folders_of(asked) == [
        *(f"{root}/a,b", str(DEFAULT_FOLDER), f"{root}/x, y,z", f"{root}/c", f"{root}/gone")
    ]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="is the name of a folder and a list of others; rename"):
        folders_of(f"{root}/p,q")


def test_the_commands_add_and_list(
    home: Path, tmp_path: Path, cache: str, shipped: Corpus, line: Utterance, capsys: Any
) -> None:
    write(tmp_path / "Mine" / "bob" / "a.wav", shipped.load(line), line.text)
    words = ["corpus", "add", str(tmp_path / "Mine"), f"cache={cache}", "workers=1", "json=-"]
    assert cli.main([*words, "attribution=Bob Example"]) == 0
    assert json.loads(capsys.readouterr().out)["recordings"] == 1
    added = open_corpora("default,mine")
    assert {added.attribution_of(one) for one in added.filter(source="mine")} == {"Bob Example"}
    shutil.copytree(corpora_home() / "mine", corpora_home() / ".mine.host_1_0.part")  # being added
    assert cli.main(["corpus", "list"]) == 0
    listed = capsys.readouterr().out
    assert ".part" not in listed
    assert listed.splitlines()[1].startswith("default")
    assert listed.splitlines()[2].split()[:3] == ["scenes", "2.14", "3060"]
    assert listed.splitlines()[3].split()[:3] == ["mine", "0.00", "1"]
    assert "microturn corpus add also knows: fotaq" in listed
    assert cli.main(["corpus", "list", "json=-"]) == 0
    rows = json.loads(capsys.readouterr().out)["corpora"]
    assert [row["name"] for row in rows] == ["default", "scenes", "mine"]
    assert cli.main(["corpus", "list", str(tmp_path / "no")]) == 1
    assert cli.main(["corpus", "add", "fotaqq"]) == 1
    assert "fotaqq is not a file, a folder" in capsys.readouterr().err
    assert cli.main(["corpus", "add", str(tmp_path), "format=mp3"]) == 2


def asterisk_package(root: Path, shipped: Corpus) -> None:
    """What the Debian package unpacks to, with the Spanish words that ship."""
    av = pytest.importorskip("av")
    (root / "usr/share/doc/asterisk-core-sounds-es-g722").mkdir(parents=True)
    for utterance in shipped.filter(speaker="asterisk-es"):
        key = utterance.id.removeprefix("asterisk-es/")
        path = root / "usr/share/asterisk/sounds/es_MX_f_Allison" / f"{key}.g722"
        path.parent.mkdir(parents=True, exist_ok=True)
        pcm = (shipped.load(utterance)[None] * 32767).astype(np.int16)
        with av.open(str(path), "w", format="g722") as container:
            stream = container.add_stream("g722", rate=RATE)
            stream.layout = "mono"
            for start in range(0, pcm.shape[1], 3200):
                piece = np.ascontiguousarray(pcm[:, start : start + 3200])
                frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
                frame.sample_rate = RATE
                for packet in stream.encode(frame):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)


def test_a_package_that_is_unpacked_already(tmp_path: Path, cache: str, shipped: Corpus) -> None:
    asterisk_package(tmp_path / "root", shipped)
    summary = add_corpus(
        config("asterisk-es", tmp_path / "out", cache, root=str(tmp_path / "root"))
    )
    words = shipped.filter(speaker="asterisk-es")
    assert summary["recordings"] + sum(summary["skipped"].values()) == len(words)
    assert summary["recordings"] > 0.95 * len(words)
    assert summary["speakers"] == {"any": 1}
    assert summary["licences"] == ["CC-BY-SA-3.0"]
    seven = next(u for u in Corpus.open(tmp_path / "out") if u.key == "digits/7")
    assert (seven.text, seven.speaker, seven.split) == ("siete", "asterisk-es", "any")
    with pytest.raises(FileNotFoundError, match="lacks the package flight-of-the-amazon-queen"):
        add_corpus(config("fotaq", tmp_path / "o", cache, root=str(tmp_path / "root")))


def test_without_apt_get_the_sentence_says_what_to_do(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="there is no apt-get here .* give root=FOLDER"):
        add_corpus(config("fotaq", tmp_path / "out", cache))
    assert not (tmp_path / "out").exists()


def test_a_package_that_cannot_be_fetched_says_why(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tool, text in (("apt-get", "echo E: no such package >&2; exit 100"), ("dpkg", "")):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(OSError, match=r"apt-get download .*no such package.*try apt-get update"):
        add_corpus(config("fotaq", tmp_path / "out", cache))


def test_fetched_packages_are_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt = "for p in $*; do touch $p.deb; done; rm -f download.deb"
    dpkg = 'mkdir -p "$3/usr/$(basename $2)"'
    for tool, text in (("apt-get", apt), ("dpkg", dpkg)):
        (tmp_path / tool).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / tool).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with packages.unpacked("fillets-cs", "", folder=tmp_path / "unpacked") as root:
        assert root is not None
        found = sorted(path.name for path in (root / "usr").iterdir())
    assert found == ["fillets-ng-data-cs.deb", "fillets-ng-data.deb"]


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, microturn.datagen.corpora.cli, microturn.datagen.export.cli;"
        "heavy = {'torch', 'pocketsphinx', 'scipy', 'soundfile', 'lhotse', 'pyarrow'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
