"""Word times that come with a corpus: files are read right, and found for their own sound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from microturn.datagen.corpora.alignment_files import with_alignments
from microturn.datagen.corpora.recordings import FileSound, Recording
from microturn.datagen.corpora.utterance import AlignedWord
from microturn.datagen.corpora.word_times import (
    Ctm,
    channel_numbers,
    words_beside,
    words_of_file,
    words_of_textgrid,
)

HELLO_WORLD = (
    AlignedWord(text="hello", start_s=0.1, end_s=0.5),
    AlignedWord(text="world", start_s=0.6, end_s=1.0),
)


def recording(name: str, path: Path | str, **sound: Any) -> Recording:
    return Recording(id=name, sound=FileSound(path=Path(path), **sound), text="hello world")


def texts(recording: Recording) -> list[str]:
    return [word.text for word in recording.words]


def test_ctm_and_textgrid_are_read_whatever_surrounds_the_words(tmp_path: Path) -> None:
    ctm = ";; comment\nx 1 0.6 0.4 world 0.9 lex bob\nx 1 0.1 0.4 hello\nx 1 0.5 0.1 <eps>\n"
    assert Ctm(ctm, "all.ctm").find("x", None) == HELLO_WORLD
    (tmp_path / "all.ctm").write_text(ctm)
    known, unknown = with_alignments(
        [recording("x", "a.wav"), recording("y", "b.wav")], str(tmp_path)
    )
    assert (known.words, unknown.words, unknown.problem) == (HELLO_WORLD, (), "")
    quoted = 'File type = "ooTextFile"\n"TextGrid"\n0\n1\n<exists>\n1\n"IntervalTier"\n"tier 1"\n'
    quoted += '0\n1\n2\n0\n0.5\n"say ""hi"""\n0.5\n1\n""\n'
    assert words_of_textgrid(quoted) == (AlignedWord(text='say "hi"', start_s=0, end_s=0.5),)
    with pytest.raises(ValueError, match="not a TextGrid"):
        words_of_textgrid("hello")
    with pytest.raises(ValueError, match=r"all\.ctm, line 2: its times are no numbers"):
        Ctm("x 1 0 1 hello\nx 1 start 1 world\n", "all.ctm")
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"holds no \.ctm, \.TextGrid or \.json"):
        with_alignments([], str(tmp_path / "none"))


def test_the_words_of_the_other_channel_are_nobodys(tmp_path: Path) -> None:
    lines = ["call A 0.1 0.4 hello", "call B 0.3 0.2 yes", "call A 0.6 0.4 world"]
    (tmp_path / "call.ctm").write_text("".join(f"{line}\n" for line in lines))
    for alignments in (str(tmp_path / "call.ctm"), str(tmp_path)):
        left, right, both = with_alignments(
            [
                recording("l", tmp_path / "call.wav", channel=0),
                recording("r", tmp_path / "call.wav", channel=1),
                recording("b", tmp_path / "call.wav"),
            ],
            alignments,
        )
        assert (texts(left), texts(right), texts(both)) == (["hello", "world"], ["yes"], [])
        assert "channels A and B of call, and its own is not known" in both.problem
    assert words_beside(tmp_path / "call.wav", channel=0) == HELLO_WORLD
    with pytest.raises(ValueError, match="its own is not known"):
        words_beside(tmp_path / "call.wav")
    one_side = Ctm("call A 0.1 0.4 hello\n", "x")
    assert one_side.find("call", 1) == (), "the second channel says nothing here"
    assert len(one_side.find("call", None)) == len(one_side.find("call", 1, own=True)) == 1
    assert channel_numbers({"1", "2"}) == {"1": 0, "2": 1}
    assert channel_numbers({"0", "1"}) == {"0": 0, "1": 1}
    assert channel_numbers({"a", "B"}) == {"a": 0, "B": 1}
    assert channel_numbers({"left", "Right"}) == {"left": 0, "Right": 1}
    assert channel_numbers({"-"}) == {"-": 0}
    with pytest.raises(ValueError, match="the channel 'user' is none of A, B, left"):
        channel_numbers({"user", "A"})


def test_a_ctm_of_a_long_file_gives_its_parts_their_words(tmp_path: Path) -> None:
    ctm = tmp_path / "long.ctm"
    ctm.write_text(
        "m1 1 0.1 0.4 before\nm1 1 2.1 0.4 hello\nm1 1 2.6 0.4 world\nm1 1 3.1 1 after\n"
    )
    path = tmp_path / "long.Mix.wav"
    part = recording("m1-2", path, start_s=2.0, end_s=3.05)
    (found,) = with_alignments([Recording(**{**vars(part), "file_id": "m1"})], str(ctm))
    assert [word.text for word in found.words] == ["hello", "world"]
    assert [word.start_s for word in found.words] == pytest.approx([0.1, 0.6])


def test_files_of_the_same_name_go_to_the_speaker_whose_folder_they_are_in(tmp_path: Path) -> None:
    mfa = tmp_path / "mfa"
    for speaker in ("bdl", "slt"):
        (mfa / speaker).mkdir(parents=True)
        (mfa / speaker / "a1.json").write_text(json.dumps([[speaker, 0.1, 0.5]]))
    some = [recording(f"{s}/a1", f"/corpus/{s}/a1.wav") for s in ("slt", "bdl", "rms")]
    slt, bdl, rms = with_alignments(some, str(mfa))
    assert (slt.times, bdl.times) == (mfa / "slt" / "a1.json", mfa / "bdl" / "a1.json")
    assert (rms.times, rms.problem) == (None, ""), "it has no times, and takes nobody else's"
    (only,) = with_alignments(some[:1], str(mfa))
    assert only.times == mfa / "slt" / "a1.json", "also when nobody else is there"
    (lost,) = with_alignments(some[2:], str(mfa))
    assert f"{mfa / 'bdl' / 'a1.json'} and {mfa / 'slt' / 'a1.json'} fit alike" in lost.problem


def test_one_file_for_several_recordings_of_its_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a1.TextGrid").touch()
    (tmp_path / "slt").mkdir()
    (tmp_path / "slt" / "a2.json").touch()
    names = [f"{speaker}/{name}" for name in ("a1", "a2", "a3") for speaker in ("slt", "bdl")]
    made = with_alignments([recording(name, f"/c/{name}.wav") for name in names], str(tmp_path))
    assert all("a1.TextGrid fits several recordings of that name" in r.problem for r in made[:2])
    assert made[2].times == tmp_path / "slt" / "a2.json"
    assert [(r.times, r.problem) for r in made[3:]] == [(None, "")] * 3
    (alone,) = with_alignments([recording("slt/a1", "/c/slt/a1.wav")], str(tmp_path))
    assert alone.times == tmp_path / "a1.TextGrid", "nothing else has that name"
    (tmp_path / "all.ctm").write_text("a3 1 0.1 0.4 hello\n")
    made = with_alignments([recording(name, f"/c/{name}.wav") for name in names], str(tmp_path))
    assert all("the CTM names a3, and several files have that name" in r.problem for r in made[4:])


def tiers(*names: str) -> str:
    body = "".join(f'"IntervalTier"\n"{n}"\n0\n1\n1\n0\n0.5\n"{n}"\n' for n in names)
    return f'File type = "ooTextFile"\n"TextGrid"\n0\n1\n<exists>\n{len(names)}\n{body}'


def test_of_several_speakers_tiers_it_is_that_of_the_recordings_speaker(tmp_path: Path) -> None:
    both = tiers("ann - phones", "ann - words", "Bob - phones", "Bob - words")
    assert words_of_textgrid(both, speaker="bob")[0].text == "Bob - words"
    assert words_of_textgrid(tiers("x - phones", "x - words"))[0].text == "x - words"
    assert words_of_textgrid(tiers("phones", "words", "ann - words"))[0].text == "words"
    with pytest.raises(ValueError, match="it has the words of ann, Bob, not of 'cy'"):
        words_of_textgrid(both, speaker="cy")
    with pytest.raises(ValueError, match="two tiers named 'words'"):
        words_of_textgrid(tiers("words", "words"))
    (tmp_path / "a.TextGrid").write_text(both)
    assert words_of_file(tmp_path / "a.TextGrid", "a", speaker="ann")[0].text == "ann - words"
