"""Readers of layouts: every entry of a corpus is taken as it is meant, or refused with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from microturn.configs.reading import files_below, lines_of
from microturn.datagen.corpora.adapters import format_of
from microturn.datagen.corpora.adapters.kaldi_commands import file_of_command
from microturn.datagen.corpora.recordings import FileSound, Recording, SoundError

RATE = 16_000


def voice(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Sound that only itself is like."""
    rng = np.random.default_rng(seed)
    return (0.1 * np.diff(rng.standard_normal(round(seconds * RATE) + 1))).astype(np.float32)


def put(path: Path, *channels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack(channels, axis=1), RATE, subtype="FLOAT")


def tables(folder: Path, **rows: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in rows.items():
        (folder / name.replace("wav_scp", "wav.scp")).write_text(
            "".join(f"{line}\n" for line in lines), encoding="utf-8"
        )
    return folder


def read(root: Path, name: str = "auto", **columns: str) -> dict[str, Recording]:
    found = list(format_of(root, name).read(root, columns))
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
