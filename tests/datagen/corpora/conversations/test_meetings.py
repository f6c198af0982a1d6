"""Kaldi's tables as conversations: a meeting stays together, each pair of people is a dialogue."""

import json
from pathlib import Path

import numpy as np
import pytest

from microturn.datagen.corpora.conversations.described import DescribedConversation
from microturn.datagen.corpora.conversations.layouts.meetings import MEETINGS
from microturn.datagen.labels.time_classes import GIVEN, UNKNOWN
from support.conversation_trees import put_sound, put_text, silenced, talk, write_meeting


def read(root: Path) -> list[DescribedConversation]:
    assert MEETINGS.matches(root)
    return list(MEETINGS.read(root, {}))


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text, json.dumps(text)
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("multichannel", [False, True])
def test_each_pair_of_a_meeting_is_a_conversation(tmp_path: Path, multichannel: bool) -> None:
    one = talk(4, n_turns=8)
    found = read(write_meeting(tmp_path / "train", one, multichannel=multichannel).parent)
    meeting = "ES2002a" if multichannel else "AMI_ES2002a"
    assert [pair.id for pair in found] == [
        f"{meeting}-FEE04{a}-FEE04{b}" for a in range(4) for b in range(a + 1, 4)
    ]
    for pair in found:
        assert (pair.split, pair.problem, len(pair.sides), len(pair.others)) == ("train", "", 2, 2)
        for side in (*pair.sides, *pair.others):
            person = int(side.speaker[-1])
            if pair is found[0]:
                assert np.abs(side.sound.decode().audio - one.sounds[person]).max() < 1e-4
            assert [(w.text, w.start_s, w.end_s, w.times) for w in side.words] == [
                (t.text.upper(), t.start_s, t.end_s, UNKNOWN) for t in one.turns_of(person)
            ]


def test_meetings_are_told_apart_and_people_are_not(tmp_path: Path) -> None:
    write_meeting(tmp_path, talk(rate=8_000))
    write_meeting(tmp_path, silenced(talk(first=1, rate=48_000), 0), meeting="ES2002b")
    found = read(tmp_path)
    assert [one.id for one in found] == ["AMI_ES2002a", "AMI_ES2002b"]
    assert [[side.speaker for side in one.sides] for one in found] == [["FEE040", "FEE041"]] * 2
    assert [one.sides[1].sound.decode().rate for one in found] == [8_000, 48_000]


def test_a_call_of_two_commands_is_one_conversation(tmp_path: Path) -> None:
    one = talk(rate=8_000)
    put_sound(tmp_path / "gespräch.sph", one, 0, 1, subtype="ULAW")
    rows: dict[str, list[str]] = {"wav.scp": [], "segments": [], "text": [], "utt2lang": []}
    for person, side in enumerate("AB"):
        path = tmp_path / "gespräch.sph"
        rows["wav.scp"].append(f"x{side} sph2pipe -f wav -p -c {person + 1} {path} |")
        for number, turn in enumerate(one.turns_of(person)):
            rows["segments"].append(f"x{side}-{number} x{side} {turn.start_s} {turn.end_s}")
            rows["text"].append(f"x{side}-{number} {turn.text}")
            rows["utt2lang"].append(f"x{side}-{number} en")
    for name, lines in rows.items():
        put_text(tmp_path / name, *lines)
    put_text(tmp_path / "utt2spk", *(f"{row.split()[0]} {row[:2]}" for row in rows["text"]))
    (found,) = read(tmp_path)
    assert (found.id, found.language) == ("gespräch", "en")
    assert [(side.speaker, side.sound.channel) for side in found.sides] == [("xA", 0), ("xB", 1)]


def test_word_times_of_a_ctm(tmp_path: Path) -> None:
    one = talk()
    write_meeting(tmp_path, one)
    rows = [
        f"AMI_ES2002a_H{turn.person:02d} 1 {w.start_s} {w.end_s - w.start_s:.3f} {w.text}"
        for turn in one.turns
        for w in turn.words
    ]
    put_text(tmp_path / "ctm", *rows)
    (found,) = read(tmp_path)
    for person, side in enumerate(found.sides):
        assert [(w.text, w.start_s, w.times) for w in side.words] == [
            (w.text, w.start_s, GIVEN) for w in one.words(person)
        ]


def test_every_fault_is_one_sentence_that_names_the_file(tmp_path: Path) -> None:
    root = tmp_path
    for meeting in ("a1", "b1", "c1", "d1", "e1", "f1", "g1", "h1"):
        write_meeting(root, talk(), meeting=meeting)
    (root / "audio" / "a1.Headset-1.wav").unlink()
    (root / "audio" / "b1.Headset-0.wav").write_bytes(b"")
    change(root / "utt2spk", " AMI_c1_H01_FEE041", " AMI_c1_H01_other")
    change(root / "wav.scp", "AMI_d1_H01 audio/d1.Headset-1.wav", "AMI_d1_H02 audio/x.wav")
    change(root / "segments", "AMI_e1_H00 0.5 ", "AMI_e1_H00 9.5 ")
    put_sound(root / "audio" / "f1.Headset-0.wav", talk(), 0, 1)
    change(root / "reco2file_and_channel", "AMI_f1_H00 AMI_f1_H00 A\n", "")
    lines = (root / "segments").read_text(encoding="utf-8").split("\n")[:-1]
    put_text(root / "segments", *(row for row in lines if "AMI_g1_H01" not in row))
    problems = {one.id: one.problem for one in read(root)}
    assert problems.pop("AMI_h1") == ""
    first = {row.split("_")[1]: row.split()[0] for row in reversed(lines)}
    d1 = next(row.split()[0] for row in lines if "AMI_d1_H01" in row)
    assert problems == {
        "AMI_a1": "a1.Headset-1.wav: the file is missing",
        "AMI_b1": "b1.Headset-0.wav: the file is empty",
        "AMI_c1": "c1.Headset-1.wav has FEE041 and other on one channel; everybody of a "
        "conversation needs a channel",
        "AMI_d1": f"utterance {d1}: wav.scp has no AMI_d1_H01",
        "AMI_e1": f"utterance {first['e1']}: segments has it from 9.5 to 1.957 s",
        "AMI_f1": "f1.Headset-0.wav has 2 channels, and nobody says which is FEE040's; state it in "
        "reco2file_and_channel",
        "AMI_g1": "only FEE040 speaks in it; a conversation needs two people",
    }


def test_without_segments_nobody_knows_when_each_one_speaks(tmp_path: Path) -> None:
    write_meeting(tmp_path, talk())
    (tmp_path / "segments").unlink()
    with pytest.raises(ValueError, match="segments is missing; without it nobody knows when"):
        read(tmp_path)
