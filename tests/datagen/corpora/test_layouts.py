"""Readers of layouts: every entry of a corpus is taken as it is meant, or refused with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.adapters import format_of
from microturn.datagen.corpora.adapters.kaldi_commands import file_of_command
from microturn.datagen.corpora.adapters.unique_ids import with_unique_ids
from microturn.datagen.corpora.add import add_corpus
from microturn.datagen.corpora.config import CorpusAddConfig
from microturn.datagen.corpora.manifest import DEFAULT_FOLDER, Corpus
from microturn.datagen.corpora.recordings import (
    FileSound,
    Recording,
    SoundError,
    split_folder,
    split_named,
)
from microturn.datagen.corpora.splits import with_splits

RATE = 16_000


def voice(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Sound that only itself is like."""
    rng = np.random.default_rng(seed)
    return (0.1 * np.diff(rng.standard_normal(round(seconds * RATE) + 1))).astype(np.float32)


def put(path: Path, *channels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    subtype = "FLOAT" if path.suffix.lower() == ".wav" else None
    soundfile.write(path, np.stack(channels, axis=1), RATE, subtype=subtype)


def tables(folder: Path, **rows: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8"
        )
    return folder


def read(root: Path, name: str = "auto", **columns: str) -> dict[str, Recording]:
    found = with_unique_ids(list(format_of(root, name).read(root, columns)))
    assert len({one.id for one in found}) == len(found)
    return {one.id: one for one in found}


def sound(recording: Recording) -> FileSound:
    assert not recording.problem, recording.problem
    assert isinstance(recording.sound, FileSound)
    return recording.sound


def heard(recording: Recording) -> np.ndarray:
    return sound(recording).decode().audio


def test_lines_end_where_files_end_them() -> None:
    assert lines_of("a\u2028b\x85c\x0cd\x1ce\r\nf\rg\n\nh") == [
        "a\u2028b\x85c\x0cd\x1ce",
        "f",
        "g",
        "",
        "h",
    ]
    assert lines_of("") == []
    for folder in ("configs", "datagen", "evaluation", "inference", "kernels", "model", "training"):
        for path in Path(__file__).parents[3].joinpath(folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8").replace("`str.splitlines`", "")
            assert "splitlines" not in text, f"{path} cuts at signs of sentences; use lines_of"


def test_folders_are_walked_through_links_and_loops_end(tmp_path: Path) -> None:
    for name in ("b/2.wav", "b/1.wav", "a/x/3.wav"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "4.wav").touch()
    (tmp_path / "root" / "c").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "a" / "x" / "up").symlink_to(tmp_path / "root")
    (tmp_path / "disk" / "self").symlink_to(".")
    (tmp_path / "root" / "gone").symlink_to(tmp_path / "nowhere")
    found = [
        path.relative_to(tmp_path / "root").as_posix() for path in files_below(tmp_path / "root")
    ]
    assert found == ["a/x/3.wav", "b/1.wav", "b/2.wav", "c/4.wav", "gone"]


def test_a_channel_is_one_speakers_and_two_are_never_summed(tmp_path: Path) -> None:
    left, right = voice(1), voice(2)
    put(tmp_path / "two.wav", left, right)
    put(tmp_path / "same.wav", left, 0.5 * left)
    put(tmp_path / "opposite.wav", left, -left)
    put(tmp_path / "empty.wav", 0.001 * right, left)
    put(tmp_path / "apart.wav", left, 0.9 * np.roll(left, 80))
    for name in ("same", "opposite", "empty", "apart"):
        got = FileSound(path=tmp_path / f"{name}.wav").decode().audio
        assert np.array_equal(got, left), name
    assert np.array_equal(FileSound(path=tmp_path / "two.wav", channel=1).decode().audio, right)
    for part in ({}, {"start_s": 0.2, "end_s": 0.7}):
        with pytest.raises(SoundError, match="its 2 channels hold different sound, .*state the ch"):
            FileSound(path=tmp_path / "two.wav", **part).decode()  # type: ignore[arg-type]


def test_sides_of_a_conversation_in_kaldi_tables(tmp_path: Path) -> None:
    left, right = voice(1, 4.0), voice(2, 4.0)
    put(tmp_path / "calls" / "sw1.wav", left, right)
    put(tmp_path / "calls" / "sw2-B.wav", right)
    root = tables(
        tmp_path / "calls",
        wav_scp=[
            "sw1-A sw1.wav",
            "sw1-B sw1.wav",
            "sw2-B sw2-B.wav",
            f"sw3-A sox {tmp_path}/calls/sw1.wav -t wav - remix 1 |",
            f"sw3-B sph2pipe -f wav -p -c 2 {tmp_path}/calls/sw1.wav |",
            "sw4 sw1.wav",
        ],
        reco2file_and_channel=["sw1-A sw1 A", "sw1-B sw1 B", "sw2-B sw2 B"],
        segments=[
            "sw1-A-1 sw1-A 0.5 1.5",
            "sw1-B-1 sw1-B 0.5 1.5",
            "sw2-B-1 sw2-B 0.5 1.5",
            "sw3-A-1 sw3-A 0.5 1.5",
            "sw3-B-1 sw3-B 0.5 1.5",
            "sw4-0 sw4 0.5 1.5 0",
            "sw4-1 sw4 0.5 1.5 1",
            "sw4-2 sw4 0.5 1.5",
        ],
        text=[
            *("sw1-A-1 a", "sw1-B-1 b", "sw2-B-1 b", "sw3-A-1 a", "sw3-B-1 b"),
            *("sw4-0 a", "sw4-1 b", "sw4-2 who"),
        ],
    )
    found = read(root)
    assert found["sw1-A-1"].file_id == "sw1-A"
    for one in found.values():
        if one.text == "who":
            with pytest.raises(SoundError, match="does not say which one is its speaker's"):
                heard(one)
        else:
            expected = {"a": left, "b": right}[one.text][RATE // 2 : 3 * RATE // 2]
            assert np.array_equal(heard(one), expected), one.id


@pytest.mark.parametrize("space", ["\t", "  ", " \t "])
def test_columns_of_kaldi_tables_are_apart_by_any_space(space: str, tmp_path: Path) -> None:
    put(tmp_path / "a b.wav", voice(1))
    root = tables(
        tmp_path,
        wav_scp=[f"u1{space}a b.wav"],
        text=[f"u1{space}one\ttwo"],
        utt2spk=[f"u1{space}0"],
        utt2lang=[f"u1{space}cs"],
    )
    (one,) = read(root).values()
    assert (one.speaker, one.language, one.text) == ("0", "cs", "one\ttwo")
    assert sound(one).path == tmp_path / "a b.wav"


def test_segments_run_to_the_end_or_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", voice(1, 3.0))
    spans = ["0.00 -1", "2 -1.0", "2 1", "-1 2", "nan 1", "0 inf", "one two", "1"]
    root = tables(
        tmp_path,
        wav_scp=["a a.wav"],
        segments=[f"u{i} a {span}" for i, span in enumerate(spans)],
        text=[f"u{i} hello" for i in range(len(spans))],
    )
    found = list(read(root).values())
    assert len(heard(found[0])) == 3 * RATE
    assert len(heard(found[1])) == RATE
    reasons = [one.problem for one in found[2:]]
    assert all("segments has it from" in reason for reason in reasons[:4]), reasons
    assert all("segments has no file, start and end" in reason for reason in reasons[4:]), reasons


def test_no_line_of_a_kaldi_table_is_lost(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", voice(1))
    root = tables(
        tmp_path,
        wav_scp=["a a.wav", "untold a.wav", "archive raw.ark:17", "who a.wav", "twice a.wav"],
        text=["a hello", "archive hello", "lost hello", "who hello", "twice one", "twice two"],
        spk2utt=["0 a untold", "1 archive lost twice"],
    )
    found = read(root)
    assert {name: one.problem for name, one in found.items()} == {
        "a": "",
        "untold": "",  # skipped later: it has no transcript
        "archive": "wav.scp names the archive raw.ark:17, which is not read; write a file",
        "lost": "wav.scp has no lost",
        "who": "utt2spk has no speaker for it",
        "twice": "text has it twice",
    }
    assert (found["a"].speaker, found["untold"].text) == ("0", "")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("sph2pipe -f wav -p -c 2 /d/x.sph |", ("/d/x.sph", 1)),
        ("/opt/sph2pipe -f wav 'a b.sph' |", ("a b.sph", None)),
        ("sox x.wav -t wav - remix 2 |", ("x.wav", 1)),
        ("sox -t mp3 x.mp3 -r 16k -b 16 -c 1 -t wav - rate -h 16000 |", ("x.mp3", None)),
        ("flac -c -d -s x.flac |", ("x.flac", None)),
        ("cat x.wav | sox -t wav - -t wav - remix 1 |", ("x.wav", 0)),
        ("sph2pipe -c 2 x.sph | sox -t wav - -r 8000 -t wav - |", ("x.sph", 1)),
        ("ffmpeg -i x.m4a -map_channel 0.0.1 -f wav -ar 16000 - |", ("x.m4a", 1)),
    ],
)
def test_commands_that_only_read_are_followed(command: str, expected: tuple[str, Any]) -> None:
    assert file_of_command(command) == expected


@pytest.mark.parametrize(
    "command",
    [
        *("sox x.wav -t wav - remix 1,2 |", "sox x.wav -t wav - trim 0 3 |", "sox a b -t wav - |"),
        *("sox -m a.wav b.wav -t wav - |", "sox x.wav -t wav - rate 16k trim 1 |", "sox x.wav |"),
        *("sph2pipe -t 0:3 x.sph |", "ffmpeg -ss 3 -i x.wav -f wav - |", "rm x.wav |", "|"),
        *("cat x.wav | cat y.wav |", "sph2pipe -c 1 x.sph | sox -t wav - -t wav - remix 2 |"),
        *("flac -c -d a.flac b.flac |", "ffmpeg -i x.wav -af pan=mono -f wav - |", "sox 'x |"),
    ],
)
def test_other_commands_are_refused(command: str) -> None:
    with pytest.raises(ValueError, match=r"wav\.scp"):
        file_of_command(command)


def jsonl(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_sentence_with_a_line_separator_is_one_line(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", voice(1))
    rows = ({"audio": "a.wav", "text": f"one{sign}two"} for sign in "\u2028\u2029\x85\x0c")
    found = read(jsonl(tmp_path / "m.jsonl", *rows))
    assert [one.text[3:-3] for one in found.values()] == ["\u2028", "\u2029", "\x85", "\x0c"]


def test_the_manifest_of_a_corpus_keeps_such_a_sentence(tmp_path: Path) -> None:
    shipped = Corpus.open()
    line = next(iter(shipped))
    (tmp_path / line.tar).symlink_to(DEFAULT_FOLDER / line.tar)
    jsonl(tmp_path / "manifest.jsonl", {**line.to_json(), "text": "one\u2028two"})
    assert Corpus.open(tmp_path)[line.id].text == "one\u2028two"


def test_parts_of_files_by_start_end_and_duration(tmp_path: Path) -> None:
    put(tmp_path / "long.wav", voice(1, 4.0))
    spans: list[dict[str, Any]] = [
        {"start": 1.0, "end": 2.5},
        {"start": 0, "end": 1.5},
        {"end": 1.5},
        {"offset": 1.0, "duration": 1.5},
        {"start": "1.0", "end": "2.5", "duration": 1.5},
        {"start_time": 2.5, "end_time": 4.0},
        {"start": 2.5, "end": -1},
        {"start": 2.5},
        {"duration": 1.5},  # of the file, by some; of nothing by others
    ]
    rows = [{"audio_filepath": "long.wav", "text": "hello", **span} for span in spans]
    found = list(read(jsonl(tmp_path / "m.jsonl", *rows)).values())
    assert [len(heard(one)) for one in found] == [round(1.5 * RATE)] * 8 + [4 * RATE]
    assert np.array_equal(heard(found[0]), voice(1, 4.0)[RATE : round(2.5 * RATE)])
    for span in ({"start": 2.0, "end": 1.0}, {"start": -2, "end": 1}, {"start": 1, "end": "x"}):
        (one,) = read(jsonl(tmp_path / "m.jsonl", {**rows[0], **span})).values()
        assert one.problem.startswith("line 1: "), span
    (one,) = read(jsonl(tmp_path / "m.jsonl", {**rows[0], "duration": 3.0})).values()
    assert one.problem == "line 1: it ends at 2.5 s, but its duration 3 s says 4 s"


def test_zero_is_a_speaker_and_an_id_and_missing_is_nobody(tmp_path: Path) -> None:
    put(tmp_path / "a.wav", voice(1))
    given: list[Any] = [0, 1.0, 1, "0", "", None, float("nan"), " ann ", "1.0"]
    rows = [{"path": "a.wav", "text": "hi", "id": i, "speaker": s} for i, s in enumerate(given)]
    found = read(jsonl(tmp_path / "m.jsonl", *rows))
    assert list(found) == [str(i) for i in range(len(given))]
    assert [one.speaker for one in found.values()] == ["0", "1", "1", "0", "", "", "", "ann", "1"]
    placed = with_splits(list(found.values()), test_share=0.1)
    assert placed[0].split == placed[3].split, "one person is on one side"


@pytest.mark.parametrize(
    ("name", "side", "folder_side"),
    [
        *((name, "train", "train") for name in ("train", "train-clean-100", "TRAIN", "trainset")),
        *((name, "test", "test") for name in ("dev", "dev93", "val", "validation", "test.other")),
        *((name, "test", "") for name in ("dev_patel", "val-kilmer", "test_eric")),
        *((name, "", "") for name in ("valerie", "devon", "validated", "evan", "trainor", "testa")),
        ("train-00000-of-00004", "train", "train"),
        ("eval2000", "test", "test"),
    ],
)
def test_a_split_is_a_word_and_no_beginning(name: str, side: str, folder_side: str) -> None:
    assert (split_named(name), split_folder(name)) == (side, folder_side)


def text_file(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_folders_of_speakers_are_not_taken_for_splits(tmp_path: Path) -> None:
    places = ["valerie/a", "devon/a", "test/ann/a", "train/wavs/bob/a", "wav/dev_patel/1/a", "a"]
    for number, place in enumerate(places):
        put(tmp_path / f"{place}.WAV", voice(number))
        text_file(tmp_path / f"{place}.TXT", "hello")
    found = read(tmp_path)
    assert {name: (one.speaker, one.split, one.text) for name, one in found.items()} == {
        "valerie/a": ("valerie", "", "hello"),
        "devon/a": ("devon", "", "hello"),
        "test/ann/a": ("ann", "test", "hello"),
        "train/wavs/bob/a": ("bob", "train", "hello"),
        "wav/dev_patel/1/a": ("dev_patel", "", "hello"),
        "a": ("", "", "hello"),
    }


def test_no_text_beside_sound_is_lost(tmp_path: Path) -> None:
    put(tmp_path / "ann" / "1.wav", voice(1))
    for name in ("ann/1.lab", "ann/2.lab", "ann/3.txt", "README.txt"):
        text_file(tmp_path / name, "hello")
    (tmp_path / "ann" / "3.m4a").touch()
    problems = {name: one.problem for name, one in read(tmp_path).items()}
    assert problems == {
        "ann/1": "",
        "ann/2.lab": "it has no sound",
        "ann/3.txt": "3.m4a is not read; convert it to .flac",
    }


def test_linked_folders_belong_to_every_layout(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    put(disk / "files" / "ann" / "1.wav", voice(1))
    text_file(disk / "files" / "ann" / "1.txt", "hello")
    put(disk / "libri" / "84" / "1" / "84-1-0000.FLAC", voice(1))
    text_file(disk / "libri" / "84" / "1" / "84-1.trans.txt", "84-1-0000\tHELLO\n")
    put(disk / "hf" / "a.wav", voice(1))
    jsonl(disk / "hf" / "metadata.jsonl", {"file_name": "a.wav", "transcription": "hello"})
    for name in ("files", "libri", "hf"):
        root = tmp_path / name
        root.mkdir()
        (root / "train").symlink_to(disk / name)
        (one,) = read(root).values()
        assert (one.split, one.text.lower(), len(heard(one))) == ("train", "hello", RATE), name
    assert next(iter(read(tmp_path / "libri").values())).speaker == "84"


def test_a_home_folder_is_no_split_and_sound_without_a_line_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "dev" / "LibriSpeech"
    put(root / "train-clean" / "84" / "1" / "84-1-0000.flac", voice(1))
    put(root / "84" / "1" / "84-1-0001.flac", voice(2))
    put(root / "84" / "1" / "84-1-0002.flac", voice(2))
    text_file(root / "train-clean" / "84" / "1" / "84-1.trans.txt", "84-1-0000 HI\n\n")
    text_file(root / "84" / "1" / "84-1.trans.txt", "84-1-0001 HI\n")
    found = read(root)
    assert [found[f"84-1-000{i}"].split for i in (0, 1)] == ["train", ""]
    assert found["84-1-0002"].text == ""


def test_cells_with_tabs_and_marks_are_whole_or_refused(tmp_path: Path) -> None:
    names = ["client_id", "path", "sentence", "up_votes", "locale"]
    sentences = ["plain", "a\ttab", '"a\ttab in marks"', '"say ""hi"", he said"', 'he said "hi"']
    rows = [["ann", f"c{i}.mp3", sentence, "2", "en"] for i, sentence in enumerate(sentences)]
    rows.append(["ann", "c9.mp3", "short"])
    (tmp_path / "clips").mkdir()
    text = "".join("\t".join(row) + "\r\n" for row in [names, *rows])
    (tmp_path / "train.tsv").write_bytes(text.encode())
    found = read(tmp_path)
    assert [one.text for one in found.values() if not one.problem] == [
        "plain",
        "a\ttab in marks",
        'say "hi", he said',
        'he said "hi"',
    ]
    assert [one.problem for one in found.values() if one.problem] == [
        "line 3: it has 6 cells, and the header 5",
        "line 7: it has 3 cells, and the header 5",
    ]
    assert {one.language for one in found.values() if not one.problem} == {"en"}


def test_clients_are_told_apart_by_their_whole_name(tmp_path: Path) -> None:
    clients = ["speaker_of_village_1", "speaker_of_village_2", "ab" * 64]
    rows = [f"{client}\tc{i}\thello\ten" for i, client in enumerate(clients)]
    put(tmp_path / "clips" / "c0.mp3.wav", voice(1))
    (tmp_path / "train.tsv").write_text("client_id\tpath\tsentence\tlocale\n" + "\n".join(rows))
    assert [one.speaker for one in read(tmp_path).values()] == [*clients[:2], "ab" * 8]


def test_the_third_column_of_a_metadata_csv_is_the_text_again_or_a_speaker(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        put(tmp_path / "wavs" / f"{name}.wav", voice(1))
    table = tmp_path / "metadata.csv"
    text_file(table, "a|Born 1998.|Born nineteen ninety-eight.\nb|Dr. Who|Doctor Who\nx|No|\n")
    found = read(tmp_path)
    assert [one.text for one in found.values()] == [
        "Born nineteen ninety-eight.",
        "Doctor Who",
        "No",
        "",
    ]
    assert {one.speaker for one in list(found.values())[:3]} == {"reader"}
    assert found["c"].text == "", "a file without a line is listed"
    text_file(table, "a|Hello there.|jimmy\nb.wav|How are you?|klunk\n")
    found = read(tmp_path)
    assert [(one.text, one.speaker, one.split) for one in found.values()][:2] == [
        ("Hello there.", "jimmy", ""),
        ("How are you?", "klunk", ""),
    ]
    assert sound(found["b.wav"]).path == tmp_path / "wavs" / "b.wav"
    text_file(table, "a|Hello there.|very happy\nb|How are you?|1|klunk\n")
    assert all("cells of unknown meaning" in r.problem for r in list(read(tmp_path).values())[:2])
    text_file(table, "audio_file|text|speaker_name\nwavs/a.wav|Hello | there.|jimmy\nb|Hi|0\n")
    torn, one = read(tmp_path).values()
    assert torn.problem == "line 2: it has 4 cells, and the header 3"
    assert (one.text, one.speaker, sound(one).path) == ("Hi", "0", tmp_path / "wavs" / "b.wav")


def test_a_recording_without_an_id_has_that_of_its_file_and_part(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.wav", voice(1, 3.0), voice(2, 3.0))
    put(tmp_path / "b" / "x.wav", voice(3))
    rows: list[dict[str, Any]] = [
        {"audio": "b/x.wav"},
        {"audio": "a/x.wav", "end": 1.0, "channel": "A"},
        {"audio": "a/x.wav", "end": 1.0, "channel": "right"},
        {"audio": "a/x.wav", "start": 1.5, "end": 3.0, "channel": 1.0},
        {"audio": "a/x.wav", "channel": "user"},
    ]
    found = read(jsonl(tmp_path / "m.jsonl", *({"text": "hi", **row} for row in rows)))
    assert list(found) == ["b/x", "a/x-0-0", "a/x-0-1", "a/x-1.5-1", "m-0000005"]
    assert [sound(one).channel for one in list(found.values())[:4]] == [None, 0, 1, 1]
    assert "the channel 'user' is none of" in found["m-0000005"].problem


def test_the_metadata_of_an_audio_folder(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / split / "a.wav", voice(1))
        text_file(
            tmp_path / split / "metadata.csv",
            'file_name,transcription,speaker_id\na.wav,"Hello, ""you"" two\nlines",7.0\n',
        )
    found = read(tmp_path)
    assert sorted((one.split, one.text, one.speaker) for one in found.values()) == [
        (split, 'Hello, "you" two\nlines', "7") for split in ("test", "train")
    ]


def cut(name: str, start: float, duration: float, *supervisions: dict[str, Any]) -> dict[str, Any]:
    source = {"type": "file", "channels": [0, 1], "source": "long.wav"}
    recording = {"id": "r", "sources": [source], "sampling_rate": RATE, "duration": 6.0}
    some = [{"id": "s", "recording_id": "r", "text": "hi", "speaker": 0, **s} for s in supervisions]
    return {
        **{"id": name, "type": "MonoCut", "start": start, "duration": duration, "channel": 0},
        **{"supervisions": some, "recording": recording},
    }


def test_windows_take_their_sentence_whole_and_once(tmp_path: Path) -> None:
    """The sentence lasts from 2.0 to 4.0 s; its words count from the start of each cut."""
    left, right = voice(1, 6.0), voice(2, 6.0)
    put(tmp_path / "long.wav", left, right)
    words = [["one", 2.0, 0.5], ["two", 3.5, 0.5]]

    def sentence(begin: float, **more: Any) -> dict[str, Any]:
        times = {"word": [[word, at - begin, length] for word, at, length in words]}
        where = {"start": 2.0 - begin, "duration": 2.0, "channel": 1, "alignment": times}
        return {**where, **more}

    jsonl(
        tmp_path / "x_cuts.jsonl",
        cut("late", 2.5, 3.0, sentence(2.5)),
        cut("early", 1.0, 2.0, sentence(1.0)),
        cut("other", 0.0, 6.0, sentence(0.0, id="s2"), sentence(0.0, id="s3", start=5.0)),
        cut("before", 0.0, 6.0, sentence(0.0, id="s4", start=-1.0)),
        cut("silent", 0.0, 1.0),
        {**cut("mixed", 0.0, 1.0), "type": "MixedCut", "recording": None},
    )
    (tmp_path / "x_cuts.jsonl").write_text(
        (tmp_path / "x_cuts.jsonl").read_text().replace(', "recording": null', "")
    )
    found = read(tmp_path)
    late = found["late"]
    assert np.array_equal(heard(late), right[2 * RATE : 4 * RATE]), "whole, on its own channel"
    assert [(w.text, round(w.start_s, 3), round(w.end_s, 3)) for w in late.words] == [
        ("one", 0.0, 0.5),
        ("two", 1.5, 2.0),
    ]
    assert (late.speaker, found["other-0"].problem) == ("0", "")
    assert {name: one.problem for name, one in found.items() if one.problem} == {
        "early": "its sentence is that of late, which is taken whole",
        "other-1": "its supervision lies at 5 to 7 s, outside its recording of 6 s",
        "before": "its supervision lies at -1 to 1 s, outside its recording of 6 s",
        "silent": "it has no supervision, so nobody says what is spoken",
        "mixed": "it is a MixedCut, and only plain recordings are read",
    }


def test_ids_of_sentences_become_those_of_recordings(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")

    def wav(seed: int) -> bytes:
        put(tmp_path / "one.wav", voice(seed), voice(seed + 100))
        return (tmp_path / "one.wav").read_bytes()

    for number, name in enumerate(("train", "test")):
        audio = [{"bytes": wav(4 * number + i), "path": f"{i % 2}.wav"} for i in range(4)]
        columns = {
            "id": [10, 10, 0, 10],
            "audio": audio,
            "channel": [1] * 4,
            "speaker_id": [0.0] * 4,
        }
        table = pa.table({**columns, "transcription": ["hello"] * 4})
        pq.write_table(table, tmp_path / f"{name}-00000-of-00001.parquet")
    found = read(tmp_path)
    names = ["10-0-train", "0-0-train", "10-1-train-train-00000-of-00001-parquet-group-0-row-1"]
    assert set(names) <= set(found), found.keys()
    assert len(found) == 8
    assert {one.speaker for one in found.values()} == {"0"}
    got = found["0-0-test"].sound.decode().audio
    assert np.array_equal(got, voice(4 + 2 + 100)), "the channel that its row names"
    kept = with_unique_ids([found["0-0-test"], found["0-0-test"]])
    assert len({one.id for one in kept}) == 2


def test_columns_are_refused_where_they_would_mean_nothing(tmp_path: Path) -> None:
    put(tmp_path / "a" / "ann" / "1.wav", voice(1))
    text_file(tmp_path / "a" / "ann" / "1.txt", "hello")
    config = CorpusAddConfig(
        source=str(tmp_path / "a"), out=str(tmp_path / "b"), columns={"id": "x"}
    )
    with pytest.raises(ValueError, match=r"columns\.id is set, but .* layout files have fixed"):
        add_corpus(config)
